"""Decisions as pure functions and tables: bytes and time in, verdicts out."""
