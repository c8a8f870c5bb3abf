"""One scan: reading, checking, geometry, intensity, fingerprint, preprocessing."""
