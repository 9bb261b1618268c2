"""A kind of field: the logarithm of a number, for prices and counts with a few very large values.

Name this file in `plugins`, and declare a field, e.g. `featurize.fields: {item: {price: logarithm}}`. A process that
scores needs the file too: `din serve --plugin logarithm.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from typing_extensions import override

from din.kinds import KINDS, OUTSIDE, Column, Example, Level, Number, Rows, numbers_of


@KINDS.register("logarithm")
class Logarithm(Number):
    """sign(x) · log(1 + |x|), standardised."""

    bucketed = False

    @override
    @staticmethod
    def coder() -> type[Any]:
        import ibis.expr.types as ir  # a process that scores has no ibis

        from din.featurize.coders import MomentsCoder

        class LogarithmCoder(MomentsCoder):
            @override
            @staticmethod
            def typed(values: ir.Value, described: str) -> ir.Value:
                numbers = MomentsCoder.typed(values, described)
                return numbers.sign() * (numbers.abs() + 1).ln()

        return LogarithmCoder

    @override
    def encode(self, values: list[Any], record: Mapping[str, Any], vocabulary: Rows | None) -> Column:
        numbers = numbers_of(values)
        return super().encode((np.sign(numbers) * np.log(np.abs(numbers) + 1)).tolist(), record, vocabulary)

    @override
    def examples(self, record: Mapping[str, Any]) -> dict[Level, Example]:
        raw = {Level.MISSING: None, Level.LOWEST: -OUTSIDE, Level.HIGHEST: OUTSIDE}
        return {level: Example(value, self.encode([value], record, None)) for level, value in raw.items()}
