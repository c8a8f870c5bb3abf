"""One scan: reading, validation, geometry, resampling, foreground, cropping, intensity."""
