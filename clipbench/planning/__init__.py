"""What is run next: from a spec, and from the runs that are there already, to the runs to make.

`runs` has the runs of a spec in their order, `staging` what of them is to be made now, `extending` the trials beyond a
grid's edge, and `cost` the time that they will take. What the trials of an arm came to, and which is the best, is read
in judging/tuning.
"""
