"""Tuning: `trials` ranks the trials of an arm, `summary` summarises all arms."""
