"""Score the log of a server again, and compare what clients sent with the features of the same moments.

again.py    the same probabilities, by the versions that the log names
sent.py     what a client sent, beside what the raw log holds for that moment
causes.py   transformations of the true history and of true values, each a mistake that clients make
skew.py     the cause that explains the most of what differs
"""
