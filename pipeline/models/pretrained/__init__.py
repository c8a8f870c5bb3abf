"""Pretrained weights: sources, loading, adapting."""
