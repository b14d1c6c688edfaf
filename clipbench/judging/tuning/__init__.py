"""How settings are found: `trials` ranks those of one arm, and `summary` says what all of them tell."""
