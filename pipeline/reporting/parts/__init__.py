"""What a page says about one thing; each takes what was gathered and gives values for a template."""
