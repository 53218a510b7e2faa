"""Peers of Outcrop, one small file each, behind one protocol. `python -m benchmarks.peers` compares them (see `__main__.py`)."""
