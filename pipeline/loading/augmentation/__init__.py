"""Random changes to training volumes, by noun: spatial, tones, degradations, MR artifacts."""
