"""The run report: one HTML page about a run, promoted, refused or broken, and advice with stable codes."""
