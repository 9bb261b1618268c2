"""Score the log of a server again, and compare what clients sent with the features of the same moments.

again.py    the same probabilities, by the versions that the log names
replay.py   the command, and what the raw log holds for the moment of each request
causes.py   transformations of the true history and of true values, each a mistake that clients make
skew.py     the cause that explains the most of what differs
"""
