"""Planning: from a spec and the existing runs to the runs to make.

`runs` has the runs of a spec in order, `staging` the runs to make now, `extending` trials beyond the edge of a grid,
`outlook` the state of a spec's runs, and `cost` their expected time. Trials are ranked in judging/tuning.
"""
