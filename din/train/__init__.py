"""Fit a model on feature shards, evaluate it, and keep what a later stage needs."""
