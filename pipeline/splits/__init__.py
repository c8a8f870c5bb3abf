"""Who trains, who validates, who is locked away: folds without leaks."""
