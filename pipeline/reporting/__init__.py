"""What people look at: explanation maps, figures, and pages that need no network."""
