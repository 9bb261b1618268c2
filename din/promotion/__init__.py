"""Promote a finished run."""
