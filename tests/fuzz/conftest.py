"""What is here is no part of the suite: it is run by `make fuzz`, in an environment of its own."""

collect_ignore = ["fuzz.py", "lines.py", "malformed.py"]
