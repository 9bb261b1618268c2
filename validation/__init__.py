"""Great Expectations suites for the raw log, the features and the predictions, and the gate over their reports.

A suite judges exactly one directory, and its report records that directory's hash. `din gate` and `python -m validation
gate` recompute the hash, so a report on other data never opens a gate.
"""
