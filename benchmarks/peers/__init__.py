"""Each peer's own DIN under its own loop, one module a peer; runs in an environment of its own (`environments.py`).

`build(workload, rows, request)` returns a `measure.Contestant`. Same widths everywhere: attention 80-40, MLP 200-80, no
regularisation.
"""
