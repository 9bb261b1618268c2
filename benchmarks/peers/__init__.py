"""Each peer's own DIN in its own training loop, one module per peer, in an environment of its own (`environments.py`).

`build(workload, rows, request)` returns a `measure.Contestant`. All have the same widths, attention 80-40 and MLP
200-80, and no regularisation.
"""
