"""Attribution maps on the grid of the original scan."""
