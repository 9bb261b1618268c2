"""`din init`: turn a log into a repository that trains a model of it.

find.py    which files are the log, and what reads them
look.py    the first rows of the log, and how its files are written
roles.py   the columns of time, user and item, by name (words.py) and by values
label.py   the label
fields.py  what every other column is: a field of some kind, feedback, or nothing
sides.py   how the tables beside the events are read
timezone.py by how many hours days are ahead of UTC
split.py   how the log is split into training, validation and test rows
layout.py  where the files are, and how they are written
clicks.py  what the rows are: clicks, rows without a click, rows that repeat
behaviours.py what a user did earlier
declared.py the fields, declared
guess.py   all of it as an overlay of params.yaml, with a reason for each key (choice.py)
render.py  the files of the repository, from template/ and the overlay
command.py writes them, and merges those of a later release with the user's edits
"""
