"""The peers: each one's own DIN in its own training loop, one module per peer, in its own environment.

`build(workload)` returns a `measure.Contestant`. All models have the same widths, attention 80-40 and MLP 200-80, and
no regularisation. `environments.py` creates the environments.
"""
