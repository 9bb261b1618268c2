"""Metrics of click models on numpy columns, without torch.

`summary` is the block of evaluation.json for one split. `slices` also reads the feature shards.
"""
