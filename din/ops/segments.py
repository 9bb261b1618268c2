"""Sums and softmax over the behaviours of each impression. They have no native form.

B impressions have T behaviours in all. `segment_T` holds each behaviour's impression, in any order:

    segment_T     0  0     2  2  2         impression 1 has no behaviours
    values_T      a  b     c  d  e
    sum           a+b   0   c+d+e
"""

from torch import Tensor

LOWEST = -1e30  # a score that gets no weight in a softmax with any real score


def segment_sum(values_TW: Tensor, segment_T: Tensor, segments: int) -> Tensor:
    """Return the sum of the rows of each segment, [segments, W], which is 0 for an empty segment."""
    return values_TW.new_zeros(segments, values_TW.shape[1]).index_add(0, segment_T, values_TW)


def segment_max(value_T: Tensor, segment_T: Tensor, segments: int) -> Tensor:
    """Return the largest value of each segment, [segments], which is `LOWEST` for an empty segment."""
    return value_T.new_full((segments,), LOWEST).scatter_reduce(0, segment_T, value_T, "amax")


def segment_softmax(score_T1: Tensor, segment_T: Tensor, impressions: int) -> Tensor:
    """Return the softmax of scores [T, 1] over the behaviours of each impression, [T, 1]."""
    top_B = segment_max(score_T1.detach().squeeze(1), segment_T, impressions)
    power_T1 = (score_T1 - top_B.index_select(0, segment_T).unsqueeze(1)).exp()
    total_B1 = segment_sum(power_T1, segment_T, impressions).clamp_min(1)  # the highest score alone adds 1
    return power_T1 / total_B1.index_select(0, segment_T)
