"""A click-through-rate pipeline around the Deep Interest Network (arXiv 1706.06978)."""
