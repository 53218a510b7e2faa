"""For tests of users and of engines: a brute-force oracle and a deterministic embedder."""
