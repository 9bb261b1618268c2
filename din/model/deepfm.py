"""DeepFM (arXiv 1703.04247)."""

from torch import Tensor
from typing_extensions import override

from din.model import MODELS
from din.model.pnn import inner_products
from din.model.wide_deep import WideDeep


@MODELS.register("deepfm")
class DeepFM(WideDeep):
    """DeepFM: Wide&Deep plus Σ_{i<j} ⟨v_i, v_j⟩, the second order of a factorization machine.

    This computes every pair. The usual ½(‖Σ v_i‖² − Σ ‖v_i‖²) takes time linear in the number of fields, but float32 is
    not precise enough for its cancellation.
    """

    @override
    def deep(self, inputs_BI: Tensor) -> Tensor:
        pairs = inner_products(inputs_BI[:, : self.vectors].unflatten(1, (-1, self.dim)))
        return super().deep(inputs_BI) + pairs.sum(1)
