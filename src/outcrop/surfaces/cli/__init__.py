"""The command line: it parses, calls `Database` and `Collection`, and shows what they answer."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line on this process's arguments and end the process with an exit code of `exit_codes.EXIT_CODES`."""
    try:
        from outcrop.surfaces.cli.app import run

        code = run()
    except KeyboardInterrupt:  # while the program itself was being loaded
        code = 130
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes at its end
        code = 141
    sys.exit(code)
