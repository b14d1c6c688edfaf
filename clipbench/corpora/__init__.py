"""What tasks read of a text on the user's disk: its tokens, its parts, windows of it."""
