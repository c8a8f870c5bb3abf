"""What comes in: predictions, checked, as arrays of one row a scan or a patient, and what else is known of them."""
