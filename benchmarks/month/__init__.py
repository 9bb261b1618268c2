"""A month of the daily pipeline on a simulated log, with defects planted in its source.

`python -m benchmarks.month` runs each day as a scheduler would, and compares the champion with models that are never
retrained, retrained from scratch every day, or three days old.
"""
