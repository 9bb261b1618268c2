"""Immutable bundles and the append-only log of promotions, on any object store; see registry.py. Imports no torch."""
