"""Sums and softmax over the behaviours of each impression, given as segments. No native form.

segment_T     0  0     2  2  2         impression 1 has no behaviours
values_T      a  b     c  d  e
sum           a+b   0   c+d+e
"""

import torch
from torch import Tensor

LOWEST = -1e30  # a score that softmax gives no weight beside any real one


def segment_sum(values_TW: Tensor, segment_T: Tensor, segments: int) -> Tensor:
    """Sum rows by segment, [segments, W]; an empty segment is 0."""
    return values_TW.new_zeros(segments, values_TW.shape[1]).index_add(0, segment_T, values_TW)


def segment_softmax(score_T1: Tensor, segment_T: Tensor, impressions: int, member_T1: Tensor | None) -> Tensor:
    """Softmax over the behaviours of each impression, [T, 1]; behaviours whose `member` is 0 get no weight."""
    if member_T1 is not None:
        score_T1 = torch.where(member_T1 > 0, score_T1, LOWEST)
    top_B = score_T1.new_full((impressions,), LOWEST)
    top_B = top_B.scatter_reduce(0, segment_T, score_T1.detach().squeeze(1), "amax")
    power_T1 = (score_T1 - top_B.index_select(0, segment_T).unsqueeze(1)).exp()
    if member_T1 is not None:
        power_T1 = power_T1 * member_T1
    total_B1 = segment_sum(power_T1, segment_T, impressions).clamp_min(1)  # the top one alone adds 1
    return power_T1 / total_B1.index_select(0, segment_T)
