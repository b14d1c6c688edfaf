"""What goes around an optimizer, a file each."""
