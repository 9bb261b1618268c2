"""A sequence model: a transformer layer over the history, and attention of the candidate over what it returns.

The layer reads what each behaviour is, how many others followed it, and how long ago it was. Name this file in
`plugins`, and set `train.model.name: transformer`, with `train.model.options: {heads: 2}` where another number fits.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from typing_extensions import override

from din.model import MODELS
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.histories import Histories
from din.ops.inputs import Keys
from din.params.search import OneOf
from din.params.train import Train
from din.schema import Field

PADDING = -1e9  # the score of a place without a behaviour
DAY = 86_400


@dataclass(frozen=True)
class Options:
    """Options of the model.

    heads: attention heads; the width of a behaviour must be a multiple.
    length: how many of the newest behaviours are read.
    """

    heads: Annotated[int, OneOf((1, 2, 4))] = 4
    length: int = 50


@MODELS.register("transformer", Options)
class Transformer(EmbeddingMLP):
    """One layer of self-attention over each history, then attention of the candidate."""

    reads_ages = True

    def __init__(self, fields: tuple[Field, ...], params: Train, options: Options) -> None:
        super().__init__(fields, params)
        width = self.key_width
        self.options = options
        self.age = nn.Linear(1, width)
        self.position = nn.Embedding(options.length, width)
        self.projection = nn.Linear(width, 3 * width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.query = nn.Linear(self.query_width, width)

    @override
    def pool(self, query_BD: Tensor, keys: Keys, histories: Histories) -> Tensor:
        days_T1 = torch.nan_to_num(keys.age_T / DAY).clamp_min(0).unsqueeze(1)
        rows_TK = keys.rows() + self.age(torch.log1p(days_T1))
        blocks_HMK, filled_HM = histories.blocks(rows_TK, self.options.length)
        encoded_HMK = self.encode(blocks_HMK + self.position.weight, filled_HM)
        query_BK = self.query(query_BD)
        score_BM = (encoded_HMK @ query_BK.unsqueeze(2)).squeeze(2) / query_BK.shape[1] ** 0.5
        weight_BM = torch.softmax(score_BM + (1 - filled_HM) * PADDING, 1) * filled_HM
        return (weight_BM.unsqueeze(1) @ encoded_HMK).squeeze(1)

    def encode(self, blocks_HMK: Tensor, filled_HM: Tensor) -> Tensor:
        """Return the histories after self-attention and a feed-forward layer, [H, M, K]."""
        parts = self.projection(blocks_HMK).chunk(3, 2)
        query, key, value = (part.unflatten(2, (self.options.heads, -1)).transpose(1, 2) for part in parts)
        bias_H11M = ((1 - filled_HM) * PADDING)[:, None, None]
        mixed = scaled_dot_product_attention(query, key, value, bias_H11M).transpose(1, 2).flatten(2)
        attended_HMK = blocks_HMK + mixed
        return attended_HMK + self.outer(gelu(self.inner(attended_HMK)))
