"""What people look at: explanation maps, figures, pages, and the experiment tracker."""
