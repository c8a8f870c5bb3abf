"""Preprocessed scans on disk: build, read."""
