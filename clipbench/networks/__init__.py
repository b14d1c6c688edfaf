"""What the tasks' models are made of: transformer layers, seeded weights and batches, weights kept on disk."""
