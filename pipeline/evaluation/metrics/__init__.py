"""Figures, each a function of a weighted sample: weights (R, n) in, values (R,) out."""
