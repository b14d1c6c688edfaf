"""The shelf of optimizers: put one file here, with a `build` as in `clipbench.contracts`, and it is enrolled."""
