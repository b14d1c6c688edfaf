"""Is the comparison fair? Rules as small functions: evidence in, a finding out; to add a rule, write it and list it.

`evidence` has what a rule may look at and `findings` what it may say; the rules stand by theme (selection, conditions,
completeness, seeds, timing), and `rules` lists them and asks each.
"""
