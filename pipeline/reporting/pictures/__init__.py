"""Figures, slices and explanation maps."""
