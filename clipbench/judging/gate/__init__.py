"""The gate of a CI: did anything get worse? Two suites of runs, arm by arm and metric by metric.

`check` joins the two sides and gives the verdicts; `gathering` makes a `suite` of runs; `arms` has one arm on both
sides. `exact`, `bits` and `readings` are the metrics, `shift` their statistics, `rules` how strict the gate is, and
`report` what comes out. `names` tells what was probably renamed.
"""
