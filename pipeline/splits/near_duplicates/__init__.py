"""Near-duplicates: descriptors and search."""
