"""The constants of all detectors, with reasons: what the suites assume about logs.

Limits that a log may need to change are in params.yaml instead. Of two related limits, the one named `EXTREME_…` closes
the gate, and the other one warns.
"""

import numpy as np

# ---- raw: the contract

YEARS = (1990, 2100)  # no click log is older; a wrong unit gives 1970 or the year 50000
CLICKS_ALONE = 0.999  # at or above this CTR, labels carry no information
SEPARATORS = "|;,"  # of lists that were not split
MOSTLY_UNSPLIT = 0.5  # the share of lists that hold a single text with a separator

# ---- raw: a few rows dated far from the rest

GAP_DAYS = 14  # a shorter gap is a holiday or an outage
FEW_FAR = 0.05  # a distant group with a larger share of all rows counts as part of the log

# ---- raw: prior histories

TOLD_SIGMAS = 3.0
CERTAIN_SIGMAS = 8.0  # earlier clicks must predict later ones this significantly, or histories are not judged

# ---- raw: users

ROBOT_IMPRESSIONS = 15  # a person does not click on every one of this many impressions
ROBOTS = 5
ROBOTS_TIMES_EXPECTED = 5.0
MOST_ALIKE = 10_000.0  # the upper bound of α + β, reached if users hardly differ
# An item that suddenly rises is too much at LARGEST_SHARE, not at LARGE_SHARE: news may well take a tenth of a day.
LARGEST_SHARE = 0.2  # of the log or a day: no person sees a fifth of all impressions
CROWD = 100  # with fewer users, one of them naturally dominates
LARGE_SHARE = 0.05  # of a day: too much for a user with TIMES_BUSIEST times as many rows as any user before
TIMES_BUSIEST = 5

# ---- raw: copies

LEAST_ROWS = 30  # a day with fewer rows gives no evidence
LEAST_COPIED_DAYS = 4  # with fewer days, there is no usual share to compare with
COPIED = 0.9  # the share of a copied day's impressions that were shown on earlier days
USUALLY_COPIED = 0.3  # a log whose days usually repeat more than this does so by nature
AGAIN = 0.4  # the share of repeated rows in a day that was delivered twice
TIMES_USUAL = 2
REPEATED_CONTEXTS = 0.05  # of rows that repeat user, item and contexts: the rise above the highest earlier day
REPEATED_PAIRS = 0.1

# ---- raw: days unlike earlier ones

WINDOW = 14  # days in a reference; two weeks have each weekday twice
BEGUN = 2  # days of the usual size before the newest ones show that a log's small first days were its beginning
LEAST_DAYS = 5  # with fewer days in the reference, nothing is judged
NORMAL = 1.4826  # the ratio of standard deviation to median absolute deviation of a normal variable
SHORT = 4.0  # a reference of n days understates the spread, so its scale is multiplied by 1 + SHORT / n
PROFILE_TIMES = 2.0  # a strange profile is this many times as far from the usual one as most days are
PROFILE_MOST = 0.8  # the share of earlier days that counts as "most"
FEW_USERS = 30  # if a usual day has fewer, single users determine its figures
SCORE, EXTREME_SCORE = 6.0, 8.0
VOLUME, EXTREME_VOLUME = np.log(2), np.log(5)  # a factor of 2; a factor of 5
VOLUME_FLOOR = 0.1
ODDS, EXTREME_ODDS = np.log(1.5), np.log(2)  # of a click: the logarithm of the ratio to the usual odds
CTR_FLOOR = 0.05
MOVED = np.log(1.5)  # if clicks and rows without a click both change by this factor, rows came or went
HOURS_MOVED, EXTREME_HOURS = 0.15, 0.3  # the share of rows in other hours than usual
SHIFT_MOVED = 0.1  # a smaller share suffices if a shift by some hours explains at least half of it
LEAST_SHIFT = 3  # weekends move hours by one or two
PART = 0.9  # hours that usually hold less than this share of a day's rows are only part of a day
FULLER = 1.5  # a day with this many times the usual rows in its hours did not end early

# ---- raw: days without their first or last hours

COVERED = 0.2  # an hour with a smaller fraction of its usual share does not count as covered
LACKS, EXTREME_LACKS = 0.05, 0.1  # the share of a usual day's rows that falls into the missing hours
LACKING_MOST = 0.75  # the share of earlier days that counts as "most"; a log's first day may begin at any hour
LEAST_EXPECTED = 10  # independent rows to expect in the missing hours, at the pace of the rest of the day

# ---- raw: the composition of days

VALUES = 40  # of a column: the most frequent ones are judged
TENTHS = 10  # the number of bins for numbers
MISSING, EXTREME_MISSING = 0.1, 0.3  # the share of rows by which missing values exceed the usual share
MISSING_FLOOR = 0.005
NEW, EXTREME_NEW = 0.5, 0.8  # the share of rows with a new value; no earlier day may have had more than half of it
KNOWN_DAYS = 2.0  # values count as new only once this many usual days precede
SCALE = 3.0  # numbers are of another scale if they are this many times beyond the usual range
RARE = 0.001  # of the older numbers, at each end, are outside of that range
FAR, EXTREME_FAR = 0.01, 0.03  # the share of such numbers; in sound logs, heavy tails put 0.002 there
LOST = np.log(3)  # a value is lost if its rows, and the odds of its share, fall to a third
SHARE, EXTREME_SHARE = 0.02, 0.1  # the usual share of rows of lost values; a rarer value is not judged
SHARE_FLOOR = 0.1
CTR_SCORE, EXTREME_CTR_SCORE = 4.0, 5.0  # among 10,000 values of sound logs, the largest score was 2.7
LEAST_REST = 100  # with fewer rows of other values, their growth can't be estimated
AGREEMENT_LEFT, EXTREME_AGREEMENT_LEFT = 0.5, 0.25  # what is left of the usual correlation of labels with values
WITNESS = 0.5  # usual correlation; only feedback follows labels so closely
# A fifth of the clicks on wrong rows leaves 0.8. On days of sound logs, 0.97 to 1.03 was left.
WITNESS_LEFT, EXTREME_WITNESS_LEFT = 0.9, 0.8
AGREEMENT_SCORE = 4.0
AGREEMENT_FLOOR = 0.01
LEAST_AGREEMENT = 0.08  # below this usual correlation, a drop is not visible
SMOOTHING = 10  # impressions of mean CTR that smooth each value's CTR
TINY = 1e-12  # a smaller variance counts as zero

# ---- features: the sample on which fields are judged

MAX_ROWS = 200_000  # sampled rows per split
MAX_DAYS = 7  # the last days of validation and of test that are also judged one by one
MIN_CLICKS = 50  # clicks, and non-clicks, in each half of the users; with fewer, fields predict the label by chance
MIN_USERS = 20  # users in each half
BINS = 100  # the number of bins for numbers
MAX_FITTED = 50_000  # impressions to which a vector's direction is fitted
SHRINKAGE = 1e-3  # ridge penalty of that fit, relative to the mean diagonal

# ---- features: leaks

SIGMAS = 5.0  # for differences between parts; high, because hundreds are judged
MAX_SAMPLED_AUC = 0.97  # sampled negatives were never shown, so an honest item field separates them from clicks
MAX_PAIR_FIELDS = 16
MAX_PAIR_ROWS = 50_000

# ---- features: rates over the judged labels

RATE_SIGMAS = 4.0
MIN_BY_ITSELF = -0.1  # if the correlation is lower even without a field, the parts exclude each other
MIN_ENTITIES = 50
ALIKE = 10  # entities with neighbouring values per comparison; more if values are equal
SPREAD = 0.1  # the standard deviation of rates among entities of one value; without it, frequent entities dominate
CONSTANT = 0.95  # of the entities shown more than once: the share for which a context must be constant
LEAST_ALIKE = 5  # entities of a grade, on average
LEAST_FAULTS = 4.0  # expected in the order of grades, as entities; with fewer, a faultless order is chance
RATE_ROUNDING = 1e-6  # a standardised 0 is only approximately 0 when converted back

# ---- features: values and items

MIN_ROWS = 100
MIN_ORDER = 0.3  # the correlation of items' impressions in early and late training; if it is lower, nothing is judged
KEPT = 0.25  # the order is lost if less than this share of that correlation is left
MIN_ITEMS = 100
