"""The operations in C: `din_ops.h` declares them, `library.py` builds and loads them. Only `din.ops` calls them."""
