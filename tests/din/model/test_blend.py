"""The blend, compared with a slow twin. Alone: `pytest tests/din/model/test_blend.py`."""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from din.features.packing import TableLayout
from din.model.blend import Blend
from din.model.embedding import Batch, to_tensors
from din.ops.histories import OneHistory, Packed
from din.schema import ITEM_ID, Group, parse_fields
from tests.factories.batches import draw_blend, random_batch
from tests.factories.bundles import FIELDS
from tests.factories.features import rows_of, with_lengths

PARSED = with_lengths(parse_fields(FIELDS))
LAYOUT = TableLayout.of(PARSED, {field.name: rows_of(field, 6) for field in PARSED})
RATING = [field.name for field in PARSED if field.group is Group.BEHAVIOUR].index("rating")


class Twin:
    """The blend of one impression at a time, in double precision."""

    def __init__(self, blend: Blend) -> None:
        self.tensors = {name: tensor.double().numpy() for name, tensor in blend.state_dict().items()}
        self.feedback = blend.record.feedback

    def logit(self, logit: float, candidate: int, history: list[tuple[int, int]]) -> float:
        """Return the blended logit, given ids: the candidate's, and item and rating of each behaviour."""
        t = self.tensors
        columns = np.array([logit, *t["counts"][self.id(candidate)], *self.of_history(self.id(candidate), history)])
        total = float(t["constant"])
        for k, z in enumerate((columns - t["centre"]) / t["scale"]):
            total += t["slopes"][k] * z
            total += sum(t["bends"][j, k] * max(0.0, z - t["knots"][j, k]) for j in range(4))
        return total

    def id(self, item: int) -> int:
        return item if item < len(self.tensors["vectors"]) else 0

    def of_history(self, candidate: int, history: list[tuple[int, int]]) -> list[float]:
        t = self.tensors
        items = [self.id(item) for item, _ in history]
        n = len(items)
        cosines = [0.0 if item == candidate else float(t["vectors"][item] @ t["vectors"][candidate]) for item in items]
        columns = [log(1 + n), max(cosines, default=0.0), sum(cosines) / (n + 1)]
        if self.feedback is None:
            return columns
        values = [t["values"][rating if rating < len(t["values"]) else 0] for _, rating in history]
        x = [0.0 if item == 0 else value - t["means"][item] for item, value in zip(items, values, strict=True)]
        mean = sum(x) / (n + 5)
        columns.append(sum(c * (value - mean) for c, value in zip(cosines, x, strict=True)) / (n + 5))
        levels, tastes = [], []
        for v, noise in zip(t["factors"], t["noise"], strict=True):
            d = sum((v[item] ** 2 for item in items), np.zeros(v.shape[1])) + noise
            w = sum((v[item] * value for item, value in zip(items, x, strict=True)), np.zeros(v.shape[1])) / d
            left = [value - v[item] @ w for item, value in zip(items, x, strict=True)]
            gradient = sum((v[item] * rest for item, rest in zip(items, left, strict=True)), np.zeros(v.shape[1]))
            w = w + 0.5 * (gradient - noise * w) / d
            levels.append(w[0])
            tastes.append(w[1:] @ v[candidate, 1:])
        return [*columns, np.mean(levels), np.mean(tastes)]


@pytest.fixture(scope="module", params=["rating", None])
def blend(request: pytest.FixtureRequest) -> Blend:
    return draw_blend(PARSED, LAYOUT, request.param)


def slow(blend: Blend, logits: torch.Tensor, batch: Batch, request: bool) -> list[float]:
    item = (batch.lookups[Group.ITEM][0].ids - LAYOUT.offsets[ITEM_ID]).tolist()
    rating = (batch.lookups[Group.BEHAVIOUR][RATING].ids - LAYOUT.offsets["rating"]).tolist()
    behaviours = [(item[at], rating[t]) for t, at in enumerate(batch.behaviour.tolist())]
    twin = Twin(blend)
    return [
        twin.logit(
            logits[b].item(),
            item[candidate],
            [pair for pair, of in zip(behaviours, batch.segment.tolist(), strict=True) if request or of == b],
        )
        for b, candidate in enumerate(batch.candidate.tolist())
    ]


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5), one=st.booleans())
def test_the_blend_equals_a_loop(blend: Blend, seed: int, lengths: list[int], one: bool) -> None:
    """For any histories, empty ones and late ids among them, in a batch and in a request."""
    batch = to_tensors(random_batch(seed, PARSED, LAYOUT, lengths, request=one))
    logits = torch.linspace(-2, 2, len(lengths))
    histories = OneHistory(len(lengths)) if one else Packed(batch.segment, len(lengths))
    expected = torch.tensor(slow(blend, logits, batch, one), dtype=torch.float32)
    torch.testing.assert_close(blend(logits, batch, histories), expected, atol=1e-4, rtol=1e-4)
