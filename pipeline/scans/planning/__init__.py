"""A good setting without tuning, from what the development scans are."""
