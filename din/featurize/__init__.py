"""Turn raw tables into feature shards: point-in-time histories as views, splits, and vocabularies."""
