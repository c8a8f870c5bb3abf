"""From config and plan to settings and a network without an open question."""
