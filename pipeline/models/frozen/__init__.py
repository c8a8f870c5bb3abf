"""Networks of which little or nothing learns."""
