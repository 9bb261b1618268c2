"""How long ago a behaviour was, as one more field of it."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from din.ops.constants import AGE_STARTS


class Ages(nn.Module):
    """Embeddings of the steps that an age falls into: 0 to 1 minute, 1 to 2, 2 to 4 … Unknown ages have their own.

    Attention can weigh old behaviours less, and the pooled interest says how old its behaviours are (compare TIN, arXiv
    2308.08487).

    Args:
        dim: the width of an embedding.
        std: the standard deviation of the initial embeddings.
    """

    start_S: Tensor

    def __init__(self, dim: int, std: float) -> None:
        super().__init__()
        self.register_buffer("start_S", torch.tensor(AGE_STARTS), persistent=False)
        self.embedding = nn.Embedding(1 + len(AGE_STARTS), dim)
        nn.init.normal_(self.embedding.weight, std=std)

    @override
    def forward(self, age_T: Tensor) -> Tensor:
        """Return the embeddings [T, dim] of ages in seconds. NaN is an unknown age."""
        step_T = (age_T.unsqueeze(1) >= self.start_S).sum(1)  # 0 if unknown: comparisons with NaN are false
        return self.embedding(step_T)
