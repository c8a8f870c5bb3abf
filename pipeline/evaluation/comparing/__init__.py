"""Differences between experiments on the same patients."""
