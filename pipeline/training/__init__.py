"""Fitting a network: the Lightning module, its optimizer, checkpoints and trainer."""
