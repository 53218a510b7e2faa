"""Runs a check that a caller wrote, and makes sense of what it returns."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import numpy as np

from outcrop.errors import OutcropError
from outcrop.judging.gate import CustomCheck
from outcrop.judging.report import GateCheck, GateContext

_log = logging.getLogger("outcrop")


def custom_check(check: CustomCheck, context: GateContext) -> GateCheck:
    """The result of a caller's function: True or False, or a value with `passed` and, if wanted, the other fields of a `GateCheck`.

    What it raises fails the check, with the error's text; so does any other result, and `values` that are not JSON.
    """
    name = str(getattr(check, "__name__", type(check).__name__)).strip("_<>").replace("_", " ")
    try:
        result = check(context)
        return _understood(name, result)
    except Exception as error:  # noqa: BLE001 - it is the caller's own code, and whatever it raises is an answer
        _log.warning("the gate's check %r raised: %s", name, error, exc_info=not isinstance(error, OutcropError))
        return GateCheck(name=name, passed=False, found=f"raised: {in_words(error)}", values={"error": in_words(error)})


def in_words(error: Exception) -> str:
    """An error's text, with its class where the text may not speak for itself."""
    return str(error) if isinstance(error, OutcropError) else f"{type(error).__name__}: {error}"


def _understood(name: str, result: Any) -> GateCheck:
    if isinstance(result, bool | np.bool_):
        return GateCheck(name=name, passed=bool(result), found=f"returned {bool(result)}", limit="True")
    passed = getattr(result, "passed", None)
    if not isinstance(passed, bool | np.bool_):
        found = f"returned {result!r:.80}; a check returns True, False or a GateCheck"
        return GateCheck(name=name, passed=False, found=found)
    texts = {field: str(getattr(result, field, usual)) for field, usual in (("name", name), ("found", ""), ("limit", ""))}
    values = msgspec.json.decode(msgspec.json.encode(getattr(result, "values", {})), type=dict[str, Any])
    return GateCheck(passed=bool(passed), values=values, **texts)
