"""What a training leaves behind, and how one that was killed goes on."""
