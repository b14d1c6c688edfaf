"""Do the runs bear a claim out? Pure functions from records and claims to answers, by interval and never by name.

`judge` asks each claim; `comparing` and `ranking` find its comparisons, among the arms and directions that `selecting`
says it speaks of; `answers` has the verdicts.
"""
