"""Coordinate-wise clipping: the exact threshold of a list of tensors, and the hook that puts it into an optimizer."""
