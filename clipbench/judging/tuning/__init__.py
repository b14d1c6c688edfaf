"""How settings are found: which trial is to be made next, which is the best, and what all of them tell."""
