"""Random changes to training volumes."""
