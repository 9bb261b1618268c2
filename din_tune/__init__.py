"""`din tune`: better hyperparameters for the log of this workspace, chosen on validation rows.

    space       the keys that are tried, and the settings of a trial
    training    one training, of a trial or with a further seed, in this process or another
    study       the trials on disk, and the search
    seeds       the best trials against today's parameters, on further seeds, and what each key adds
    command     all of it, with the overlay and the page that it writes

Trials train by the loop of `din train` on `data/features/`, from random weights, and keep no checkpoint. Nothing reads
a test row.
"""
