"""Great Expectations suites for the raw log, the features and the predictions, and the gate over their reports.

Each suite judges one directory and records the directory's hash in its report. `din gate` and `python -m validation
gate` recompute the hash, so a report on other data never opens a gate.
"""
