"""A gate: close if the candidate puts one item on top for too many users.

Name this file in `plugins`. `gate.options: {concentration: {max_share: 0.3}}` sets another limit.
"""

from dataclasses import dataclass

import numpy as np

from din.release.gates import GATES
from din.release.gates.case import Case
from din.release.gates.findings import Finding


@dataclass(frozen=True)
class Options:
    """Options of the gate: the largest share of test users who have the same item on top."""

    max_share: float = 0.5


@GATES.register("concentration", Options, model="judged")
def concentration(case: Case, options: Options) -> Finding:
    """Find the item that is on top for most users of the test rows."""
    rows = case.evidence.judged_rows
    user, item, prediction = (rows[name].to_numpy() for name in ("user", "item", "prediction"))
    order = np.lexsort((prediction, user))
    last_of_user = np.append(user[order][1:] != user[order][:-1], True)
    items, counts = np.unique(item[order][last_of_user], return_counts=True)
    share = float(counts.max() / counts.sum())
    if share <= options.max_share:
        return Finding("open", share, options.max_share, rows=len(rows))
    reason = f"item {items[counts.argmax()]} is on top for {share:.0%} of the test users; look at its training rows"
    return Finding("closed", share, options.max_share, rows=len(rows), reason=reason)
