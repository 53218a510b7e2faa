"""`python -m outcrop` is the command `outcrop`."""

from __future__ import annotations

from outcrop.surfaces.cli import main

if __name__ == "__main__":
    main()
