"""The blend on top of a model: item counts and neighbours beside its logit.

    logit = constant + Σ_k (slope_k·z_k + Σ_j bend_jk·max(0, z_k − knot_jk))        z = (column − centre) / scale

    column        of a candidate
    model         the logit of the model
    popularity    the logit of its smoothed CTR in training, unless negatives were drawn
    impressions   log(1 + its training impressions)
    clicks        log(1 + its training clicks)
    behaviours    log(1 + n), n behaviours in the history
    nearest       the largest cosine between the vectors of the candidate and of a behaviour; 0 without behaviours
    near          Σ cosine / (n + 1)

and, if behaviours have a feedback x, such as stars less the mean of the item:

    liked         Σ cosine·(x − mean of x) / (n + 5)
    level         the user's mean feedback, by a factor model x ≈ v_item·w_user with w_user₀ as the level
    taste         the rest of v_candidate·w_user

The vectors, counts and factors of an item are statistics of training rows. Slopes and bends are fitted on rows that the
model has not learned. `din.train.blend` has both. Training leaves the blend out.

`din.ops` explains the shape letters. I counts the items with statistics, K the columns, S the starts of the factor
model, and r its factors.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from din.base.documents import Document
from din.features.packing import TableLayout
from din.model.embedding import Batch
from din.ops.constants import SHRINK
from din.ops.histories import Histories
from din.schema import ITEM_ID, Field, Group

_WEIGHTS = ("centre", "scale", "knots", "slopes", "bends", "constant")


class BlendRecord(Document):
    """The description of a blend in the configuration of a saved model.

    Attributes:
        columns: their names, in order.
        feedback: the behaviour field whose values are the feedback. None: there is none.
    """

    columns: list[str]
    feedback: str | None


class Blend(nn.Module):
    """The blend of one model.

    Args:
        record: its columns.
        tensors: its statistics, and its weights if it has them, by name; see the attributes.
        fields, layout: the rows of the joint table.

    Attributes:
        counts: [I, 2 or 3], the columns that depend on the candidate alone.
        vectors: [I, E], of length 1, or 0 for an item without neighbours.
        values: [V], the feedback of each value of the field.
        means: [I], the mean feedback of each item.
        factors: [S, I, r], v of each item.
        noise: [S], the variance of the feedback beside x ≈ v·w.
        centre, scale, slopes: [K].
        knots, bends: [J, K].
        constant: [1].
    """

    first_item: Tensor
    first_value: Tensor
    counts: Tensor
    vectors: Tensor
    values: Tensor
    means: Tensor
    factors: Tensor
    noise: Tensor
    centre: Tensor
    scale: Tensor
    slopes: Tensor
    knots: Tensor
    bends: Tensor
    constant: Tensor

    def __init__(
        self, record: BlendRecord, tensors: Mapping[str, Tensor], fields: Sequence[Field], layout: TableLayout
    ) -> None:
        super().__init__()
        self.record = record
        self.add(tensors)
        # Tensors, since a kept graph must not depend on the sizes of vocabularies.
        self.register_buffer("first_item", torch.tensor(layout.offsets[ITEM_ID]), persistent=False)
        self.feedback = None
        if record.feedback is not None:
            self.feedback = [field.name for field in fields if field.group is Group.BEHAVIOUR].index(record.feedback)
            self.register_buffer("first_value", torch.tensor(layout.offsets[record.feedback]), persistent=False)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Add statistics or weights by name."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def weights(self) -> dict[str, Tensor]:
        """Return what was fitted on validation rows, by name."""
        return {name: self.get_buffer(name) for name in _WEIGHTS}

    def placed(self, fields: Sequence[Field], layout: TableLayout) -> "Blend":
        """Return this blend for a joint table of another layout."""
        return Blend(self.record, self.state_dict(), fields, layout)

    @override
    def forward(self, logit_B: Tensor, batch: Batch, histories: Histories) -> Tensor:
        """Return the blended logits [B]."""
        z_BK = (self.columns(logit_B, batch, histories) - self.centre) / self.scale
        bent_BJK = (z_BK.unsqueeze(1) - self.knots).clamp_min(0) * self.bends
        return z_BK @ self.slopes + bent_BJK.sum((1, 2)) + self.constant

    def columns(self, logit_B: Tensor, batch: Batch, histories: Histories) -> Tensor:
        """Return the columns [B, K]."""
        item_U = _known(batch.lookups[Group.ITEM][0].ids - self.first_item, self.vectors)
        candidate_B = item_U.index_select(0, batch.candidate)
        behaviour_T = item_U.index_select(0, batch.behaviour)
        vector_TE = self.vectors.index_select(0, behaviour_T)
        cosine = histories.dot(self.vectors.index_select(0, candidate_B), vector_TE)
        same = histories.queries(candidate_B.unsqueeze(1)) == histories.keys(behaviour_T.unsqueeze(1))
        cosine = torch.where(same, torch.zeros_like(cosine), cosine)
        one_T1 = torch.ones_like(vector_TE[:, :1])
        length_O1 = histories.of_owners().total(one_T1)
        columns = [
            logit_B.unsqueeze(1),
            self.counts.index_select(0, candidate_B),
            length_O1.log1p(),
            histories.largest(cosine),
            histories.weighted_sum(cosine, one_T1) / (length_O1 + 1),
        ]
        if self.feedback is not None:
            value_T = _known(batch.lookups[Group.BEHAVIOUR][self.feedback].ids - self.first_value, self.values)
            x_T = self.values.index_select(0, value_T) - self.means.index_select(0, behaviour_T)
            x_T1 = (x_T * (behaviour_T > 0)).unsqueeze(1)
            mean_O1 = histories.of_owners().total(x_T1) / (length_O1 + SHRINK)
            sums_B2 = histories.weighted_sum(cosine, torch.cat([x_T1, one_T1], 1))
            columns.append((sums_B2[:, :1] - mean_O1 * sums_B2[:, 1:]) / (length_O1 + SHRINK))
            columns += self._factors(candidate_B, behaviour_T, x_T1, histories.of_owners())
        return torch.cat([column.expand(logit_B.shape[0], -1) for column in columns], 1)

    def _factors(self, candidate_B: Tensor, behaviour_T: Tensor, x_T1: Tensor, owners: Histories) -> list[Tensor]:
        """Return level and taste, means over the starts.

        A user's factors w are two damped Jacobi steps towards the mean of their posterior.
        """
        levels, tastes = [], []
        for factor_Ir, noise in zip(self.factors, self.noise, strict=True):
            v_Tr = factor_Ir.index_select(0, behaviour_T)
            sum_Or = owners.total(v_Tr.square()) + noise
            w_Or = owners.total(v_Tr * x_T1) / sum_Or
            left = owners.keys(x_T1) - owners.dot(w_Or, v_Tr)
            w_Or = w_Or + 0.5 * (owners.weighted_sum(left, v_Tr) - noise * w_Or) / sum_Or
            levels.append(w_Or[:, :1])
            rest_Br = factor_Ir.index_select(0, candidate_B)[:, 1:]
            tastes.append((w_Or[:, 1:] * rest_Br).sum(1, keepdim=True))
        return [torch.stack(levels).mean(0), torch.stack(tastes).mean(0)]


def _known(id_N: Tensor, table: Tensor) -> Tensor:
    """Return ids with those that became known after the table was made replaced by 0, the unknown id."""
    return torch.where(id_N < table.shape[0], id_N, torch.zeros_like(id_N))
