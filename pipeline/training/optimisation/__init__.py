"""How it is minimised, and when to stop."""
