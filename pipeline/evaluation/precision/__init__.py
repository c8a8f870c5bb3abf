"""How far a figure could be from the truth, and what a sample of this size can show."""
