"""Which releases are tried together: chosen from those that the package index lists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

OLDER_COUNT = 2
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)(\w*)")
_LISTED = "Available versions:"


class Pair(NamedTuple):
    """A LanceDB release and a PyArrow release. `refused`: LanceDB or Outcrop says that it wants another PyArrow."""

    lancedb: str
    pyarrow: str
    refused: bool = False

    def __str__(self) -> str:
        return f"lancedb {self.lancedb}, pyarrow {self.pyarrow}"


def listed(package: str) -> list[str]:
    """The releases of a package that pip can install here, pre-releases too, newest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--pre", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.strip().startswith(_LISTED)), None)
    if line is None:
        raise SystemExit(f"pip lists no releases of {package}:\n{done.stderr[-2000:]}")
    return newest_first(line.strip().removeprefix(_LISTED).split(","))


def newest_first(versions: Sequence[str]) -> list[str]:
    """Releases in order, without spaces around them; what is no release of three numbers is left out."""
    return sorted((text.strip() for text in versions if _RELEASE.fullmatch(text.strip())), key=_order, reverse=True)


def pairs(lancedb: Sequence[str], pyarrow: Sequence[str], pyarrow_min: int, older_count: int = OLDER_COUNT) -> list[Pair]:
    """What is tried, of releases that are given newest first.

    The newest LanceDB with the newest PyArrow, with the oldest that Outcrop allows and with one that it does not; then, each with
    the newest PyArrow, the newest pre-release if it is newer than that, and the last release of each of the minor versions before.
    """
    arrows = [one for one in pyarrow if not is_pre_release(one)]
    allowed = [one for one in arrows if _order(one)[0] >= pyarrow_min]
    refused = [one for one in arrows if _order(one)[0] < pyarrow_min]
    finals = [one for one in lancedb if not is_pre_release(one)]
    newest = finals[0]
    last_of_minor = {_order(one)[:2]: one for one in reversed(finals)}
    older = list(reversed(last_of_minor.values()))[1 : 1 + older_count]
    chosen = [Pair(one, allowed[0]) for one in lancedb[:1] if is_pre_release(one)]
    chosen += [Pair(newest, allowed[0]), Pair(newest, allowed[-1]), *(Pair(newest, one, refused=True) for one in refused[:1])]
    return chosen + [Pair(one, allowed[0]) for one in older]


def is_pre_release(version: str) -> bool:
    """Whether letters follow the numbers."""
    found = _RELEASE.fullmatch(version)
    return found is not None and bool(found[4])


def _order(version: str) -> tuple[int, int, int, bool, str]:
    found = _RELEASE.fullmatch(version)
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3]), not found[4], found[4]
