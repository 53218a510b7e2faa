"""How fast and how good: one file per question. Run `python -m benchmarks.run` from the root of a checkout."""
