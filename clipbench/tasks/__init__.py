"""The tasks: one file each, found by being there."""
