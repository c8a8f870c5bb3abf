"""A trained run as a classifier of raw scans."""
