"""The gate of a CI: did anything get worse? Two suites of runs, arm by arm and metric by metric."""
