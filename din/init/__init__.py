"""`din init`: turn a log into a repository that trains a model of it.

look.py    the first rows of the log, and how its files are written
time.py    the column of the time, and its unit
label.py   the label
ids.py     the user and the item, by name (words.py) and by values
fields.py  what every other column is: a field of some kind, feedback, or nothing
split.py   how the log is split into training, validation and test rows
guess.py   all of it as an overlay of params.yaml, with a reason for each key
render.py  the files of the repository, from template/ and the overlay
update.py  the same files from a later release, merged with the user's edits
"""
