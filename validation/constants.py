"""The constants of all detectors, each with its reason: the beliefs of the suites about logs.

A limit that a log may need to change is in params.yaml instead. Where two limits belong together, the lower one gives a
warning, and the higher one, `EXTREME_…`, closes the gate.
"""

import numpy as np

# ---- raw: the contract

FEW_IDS = 2  # with one user, or one item, nothing can be ranked
CTR = (0.0001, 0.9999)  # beyond it, the label rule is wrong, or a log has clicks alone
MOST_UNKNOWN_USERS = 0.99  # the share of events; user tables often hold known customers only, so few may match
YEARS = (1990, 2100)  # no log of clicks is older, and a wrong unit gives 1970 or the year 50000
CLICKS_ALONE = 0.999  # from this CTR on, labels carry no information
SEPARATORS = "|;,"  # of lists that were not split
MOSTLY_UNSPLIT = 0.5  # the share of lists of one text with a separator

# ---- raw: a few rows dated far from the rest

GAP_DAYS = 14  # a shorter gap is a holiday or an outage
FEW_FAR = 0.05  # the share of all rows from which rows count as part of the log

# ---- raw: prior histories

REPEATED_HISTORY, SOME_REPEATED_HISTORY = 0.3, 0.02  # the shares of the history's rows that are impressions of the log
HISTORY_WITHIN = 0.5  # the share of behaviours dated inside the log
UNKNOWN_ITEMS = 0.95  # histories may hold items that left the catalogue long ago
TOLD = 0.25  # how well a history tells clicks, beside clicks: sound logs 0.9 to 1.5, histories of others 0 to 0.1
TOLD_SIGMAS = 3.0
CERTAIN_SIGMAS = 8.0  # earlier clicks must tell later ones this certainly before histories are judged by it

# ---- raw: users

ROBOT_IMPRESSIONS = 15  # a person would not click on all of this number of impressions
ROBOTS = 5
ROBOT_SHARE = 0.02
ROBOTS_TIMES_EXPECTED = 5.0
MOST_ALIKE = 10_000.0  # α + β if users hardly differ
LARGEST_SHARE = 0.2  # of the events from one user: no person sees a fifth of all impressions
CROWD = 100  # in a log of fewer users, single ones dominate by nature
LARGE_SHARE = 0.05  # the share of a day that is too large for a user with far more rows than any user before
TIMES_BUSIEST = 5

# ---- raw: copies

LEAST_ROWS = 30  # a day with fewer rows gives no evidence
LEAST_COPIED_DAYS = 4  # with fewer days, nothing tells what is usual
COPIED = 0.9  # the share of impressions of an earlier day in its copy
USUALLY_COPIED = 0.3  # days that repeat themselves by more do so by nature
AGAIN = 0.4  # the share of copies in a day that was delivered twice
TIMES_USUAL = 2
REPEATED_CONTEXTS = 0.05  # the share of rows, beyond any day before, that repeat a user, an item and all contexts
REPEATED_PAIRS = 0.1

# ---- raw: days unlike earlier ones

WINDOW = 14  # days of a reference: two weeks hold each weekday twice
LEAST_DAYS = 5  # with fewer days in the reference, nothing is judged
NORMAL = 1.4826  # the standard deviation of a normal variable, divided by its median absolute deviation
SHORT = 4.0  # a reference of n days understates the spread: its scale grows by 1 + SHORT / n
PROFILE_TIMES = 2.0  # a strange profile is this many times as far off as the profiles of most days
PROFILE_MOST = 0.8  # the share of earlier days that counts as most
FEW_USERS = 30  # if a usual day has fewer, single users decide its figures
SCORE, EXTREME_SCORE = 6.0, 8.0
VOLUME, EXTREME_VOLUME = np.log(2), np.log(5)  # half or double; a fifth or five times
VOLUME_FLOOR = 0.1
ODDS, EXTREME_ODDS = np.log(1.5), np.log(2)  # of a click
CTR_FLOOR = 0.05
HOURS_MOVED, EXTREME_HOURS = 0.15, 0.3  # the share of rows in other hours than usual
SHIFT_MOVED = 0.1  # enough if a shift by hours explains most of it
LEAST_SHIFT = 3  # weekends move hours by one or two
PART = 0.9  # a day that ends early holds less than this share of a usual day's rows
FULLER = 1.5  # a day with this many times the usual rows of its hours has not ended early

# ---- raw: days without their first or last hours

COVERED = 0.2  # an hour with a smaller part of its usual share is not covered
LACKS, EXTREME_LACKS = 0.05, 0.1  # the share of a usual day's rows in the hours that a day lacks
LACKING_MOST = 0.75  # the share of earlier days that counts as most; the first day of a log may begin at any hour
LEAST_EXPECTED = 10  # at the day's own pace, the hours that it lacks would hold this many independent rows

# ---- raw: the composition of days

VALUES = 40  # the most frequent values of a column are judged
TENTHS = 10  # numbers are judged by tenths
MISSING, EXTREME_MISSING = 0.1, 0.3  # the share of rows by which missing values exceed the usual share
MISSING_FLOOR = 0.005
NEW, EXTREME_NEW = 0.5, 0.8  # the share of rows with a new value, if earlier days had at most half of it
KNOWN_DAYS = 2.0  # a value counts as new only after this number of usual days
LOST = np.log(3)  # a value is lost if its rows, and the odds of its share, fall to a third
SHARE, EXTREME_SHARE = 0.02, 0.1  # the share of a usual day's rows that lost values had; a rarer value is not judged
SHARE_FLOOR = 0.1
CTR_SCORE, EXTREME_CTR_SCORE = 4.0, 5.0  # the largest score of 10,000 values of sound logs was 2.7
LEAST_REST = 100  # with fewer rows of other values, nothing tells how many rows to expect
AGREEMENT_LEFT, EXTREME_AGREEMENT_LEFT = 0.5, 0.25  # the share of the usual correlation of labels with values
AGREEMENT_SCORE = 4.0
AGREEMENT_FLOOR = 0.01
LEAST_AGREEMENT = 0.08  # a lower usual correlation can't show a change
SMOOTHING = 10  # each value's CTR is smoothed with this number of impressions of the mean CTR
TINY = 1e-12  # a smaller variance counts as zero

# ---- features: rows

LEAST_HISTORY = 0.01  # the mean length of a history; with less, nearly every history is empty
ROUNDING = 1e-9  # of the share of kept negatives that the manifest states

# ---- features: the sample by which fields are judged

MAX_ROWS = 200_000  # sampled rows of a split
MAX_DAYS = 7  # the number of last days of validation and of test that are also judged one by one
MIN_CLICKS = 50  # clicks, and non-clicks, in each half of the users; with fewer, fields tell the label by chance
MIN_USERS = 20  # users in each half
BINS = 100  # numbers are judged by hundredths
MAX_FITTED = 50_000  # impressions on which a vector's direction is fitted
SHRINKAGE = 1e-3  # of that direction

# ---- features: leaks

SIGMAS = 5.0  # of differences between parts, of which hundreds are judged
STRONG_AUC = 0.75  # of one field; in sound logs at most 0.71
MAX_SAMPLED_AUC = 0.97  # sampled negatives were never shown, so an honest item field tells them from clicks
MAX_RISE = 0.15  # of a field's AUC above that of training
MAX_PAIR_FIELDS = 16
MAX_PAIR_ROWS = 50_000

# ---- features: rates over the judged labels

MIN_CORRELATION = -0.25  # of two parts' residuals; planted rates have -0.38 to -1, and fields of sound logs 0 or more
RATE_SIGMAS = 4.0
MIN_BY_ITSELF = -0.1  # with a lower correlation without any value, the two parts exclude each other
MIN_ENTITIES = 50
ALIKE = 10  # the number of entities with neighbouring values that are compared; more if values are equal
SPREAD = 0.1  # how much rates of entities with one value differ; keeps frequent entities from outweighing the others
CONSTANT = 0.95  # the share of entities, shown more than once, for which a context must be constant
RATE_ROUNDING = 1e-6  # a standardised 0 comes back as about 0

# ---- features: values and items

MANY_MISSING, ALL_MISSING = 0.4, 0.99  # the share of training rows without a value
MIN_ROWS = 100
MIN_ORDER = 0.3  # the correlation of the items' impressions
KEPT = 0.25  # an order whose correlation falls below this share is lost
MIN_ITEMS = 100

# ---- predictions

LEAST_SPREAD = 0.001  # the standard deviation of the probabilities; below it, the model has collapsed
