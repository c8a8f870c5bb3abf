"""Other people's weights, read without running anything, and fitted to other shapes."""
