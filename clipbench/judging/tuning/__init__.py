"""How settings are found: which trial is to be made next, which is the best, and what all of them tell.

`trials` ranks those of one arm, `extending` proposes one beyond an edge, `staging` says what a spec asks to be run now,
and `summary` what the trials tell.
"""
