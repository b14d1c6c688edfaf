"""How the runs of a comparison were made: one fact, one function, one sentence.

To add a check, write its function and its entry in the list CHECKS at the end of the file of its subject.
"""
