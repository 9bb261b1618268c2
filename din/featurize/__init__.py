"""Raw tables to feature shards: point-in-time histories as views, splits, vocabularies (DESIGN: Feature shards)."""
