"""The shelf of probes: put one file here, with a `measure` as in `clipbench.contracts`, and it is enrolled."""
