"""Whatever is chosen on validation and applied to any other patients as it is."""
