"""Great Expectations suites for the raw log, the features and the predictions, and the gate over their reports.

A suite judges exactly one directory, and its report carries that directory's hash: `din gate` and `python -m validation
gate` recompute it, so a report about other data never opens anything.
"""
