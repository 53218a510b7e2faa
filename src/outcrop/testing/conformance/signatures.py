"""Whether an object's methods have the parameters that a protocol gives them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any


def differences(found: object, protocol: type) -> list[str]:
    """How the methods of an object differ from those of a protocol in their parameters' names, kinds and defaults.

    Callers may pass every argument by position or by name as the protocol has it, so each of these is part of it.

    >>> from outcrop.engines.builtin import BuiltinEngine
    >>> from outcrop.engines.protocol import Engine
    >>> differences(BuiltinEngine(), Engine)
    []
    """
    return list(_differences(found, protocol))


def _differences(found: object, protocol: type) -> Iterator[str]:
    for name, wanted in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(wanted):
            continue
        method = getattr(found, name, None)
        if not callable(method):
            yield f"{type(found).__name__} has no method {name}"
            continue
        wants, has = _shape(wanted, bound=False), _shape(method, bound=True)
        if wants != has:
            yield f"{type(found).__name__}.{name}({_shown(has)}), the protocol has ({_shown(wants)})"


def _shape(function: Any, *, bound: bool) -> list[tuple[str, str, Any]]:
    parameters = list(inspect.signature(function).parameters.values())
    return [(one.name, one.kind.description, one.default) for one in (parameters if bound else parameters[1:])]


def _shown(shape: list[tuple[str, str, Any]]) -> str:
    return ", ".join(
        f"{name} [{kind}]{'' if default is inspect.Parameter.empty else f' = {default!r}'}" for name, kind, default in shape
    )
