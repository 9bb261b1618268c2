"""Readers of click logs: one module per log format, and one writer and one set of checks for `data/raw/`."""
