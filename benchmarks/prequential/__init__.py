"""How much learning every day is worth on a log: each day is scored before any model has learned it.

`python -m benchmarks.prequential docs/examples/LOG.yaml` makes each day's models by four policies and compares them.
"""
