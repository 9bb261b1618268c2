"""The registry: immutable bundles and an append-only log of promotions, on any object store. Imports no torch."""
