"""Recorded numbers for other programs: tidy rows, CSV and TensorBoard."""
