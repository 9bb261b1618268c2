"""The feature shards (FORMAT.md) and the packed batches read from them. Numpy and pyarrow only."""
