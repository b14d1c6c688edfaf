"""The gate of a CI: did anything get worse? Two suites of runs, arm by arm and metric by metric.

`check` joins the two sides and gives the verdicts. `suite` is what is read of their runs, `baseline` its file; `arms`
has one arm on both sides. `exact` and `varying` make the rows, `rules` says how strict they are, `report` what comes
out.
"""
