"""Splits: the locked test set and the folds, and the check for leaks between them."""
