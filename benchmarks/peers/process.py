"""A peer's process as the comparison sees it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import ROOT

Answer = dict[str, Any]


class PeerFailed(Exception):
    """A peer's process has ended before its answer."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class PeerProcess:
    """A fresh process that has imported one peer's libraries. Close it to end it."""

    def __init__(self, name: str, corpus: Path, folder: Path) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the process
        command = [sys.executable, "-m", "benchmarks.peers.child", name, str(corpus), str(folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        self.pid = self._process.pid
        self._read()

    def ask(self, do: str, **more: Any) -> Answer:
        """Have something done, and wait for its answer. Raises `PeerFailed`."""
        asked = msgspec.json.encode({"do": do, **more})
        try:
            self._process.stdin.write(asked + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._failed() from error
        return self._read()

    def close(self) -> None:
        """End the process; the index stays."""
        if self._process.poll() is None:
            try:
                self.ask("close")
                self._process.communicate(timeout=30)
            except (PeerFailed, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):  # what was not read before the process ended
            self._process.stdin.close()
        self._log.close()

    def _read(self) -> Answer:
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        found: Answer = msgspec.json.decode(line)
        return found

    def _failed(self) -> PeerFailed:
        code = self._process.wait()
        self._log.seek(0)
        last = self._log.read()[-1500:].decode(errors="replace")
        return PeerFailed(self.name, f"{self.name}'s process ended with {code}:\n{last}")
