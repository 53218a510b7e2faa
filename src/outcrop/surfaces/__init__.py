"""Thin shells over the library."""
