"""Options that several commands share."""

import argparse


def positive(text: str) -> int:
    """Parse a count of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)
