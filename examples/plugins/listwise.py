"""A model: DIN with a listwise loss, which ranks the candidates of a request against each other.

    loss = log loss + share · Σ over clicks of −ln softmax(logit among the candidates of the click's request)

A log loss alone also rewards telling users who click much from those who click little. The second term does not: a
constant added to all logits of a request changes nothing. The first one keeps probabilities calibrated. Name this file
in `plugins`, and set `train.model.name: listwise`.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import override

from din.model import MODELS, NETWORK
from din.model.din import DIN
from din.model.embedding import Batch
from din.params.search import Between
from din.params.train import Train
from din.schema import Field


@dataclass(frozen=True)
class Options:
    """Options of the model: the share of the listwise term in the loss."""

    share: Annotated[float, Between(0.03, 3, log=True)] = 0.3


@MODELS.register("listwise", Options, reads=NETWORK | {"model.softmax"})
class Listwise(DIN):
    """DIN, whose loss compares the candidates of each request."""

    reads_requests = True

    def __init__(self, fields: tuple[Field, ...], params: Train, options: Options) -> None:
        super().__init__(fields, params)
        self.share = options.share

    @override
    def loss(
        self, table_RW: Tensor, batch: Batch, logits_B: Tensor, labels_B: Tensor, weights_B: Tensor | None
    ) -> Tensor:
        assert batch.request is not None
        together_BB = batch.request.unsqueeze(1) == batch.request
        total_B = torch.where(together_BB, logits_B, -torch.inf).logsumexp(1)
        listwise_B = labels_B * (total_B - logits_B)
        if weights_B is not None:
            listwise_B = listwise_B * weights_B
        return super().loss(table_RW, batch, logits_B, labels_B, weights_B) + self.share * listwise_B.sum()
