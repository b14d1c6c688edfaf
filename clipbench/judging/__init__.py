"""Records → verdicts: what the runs say when they are put side by side, with errors and caveats. Prints nothing."""
