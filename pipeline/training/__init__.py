"""Fitting a network: the Lightning module, its optimiser, checkpoints and trainer."""
