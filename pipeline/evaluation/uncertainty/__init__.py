"""Confidence intervals: analytic, clustered, bootstrapped."""
