"""From a fingerprint of the cohort to plan.yaml, by rules; no torch."""
