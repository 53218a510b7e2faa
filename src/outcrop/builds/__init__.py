"""Builds a generation beside the live one, and puts it live."""
