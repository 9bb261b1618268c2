"""Options that several commands share."""

import argparse


def positive(text: str) -> int:
    """A count from 1 on, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)
