"""Experiments as reviewers see them: local records first, and Weights & Biases as their copy."""
