"""Fit a model to feature shards, evaluate it, and save it for later stages."""
