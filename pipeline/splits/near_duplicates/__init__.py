"""Near-duplicate scans: descriptors, similarity and search."""
