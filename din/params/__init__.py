"""The parameters of the pipeline: `load()` reads params.yaml into `Params`, with one frozen dataclass per block."""

from din.params.blocks import Scalar
from din.params.data import Data
from din.params.featurize import Featurize
from din.params.fetch import Simulate, Table
from din.params.reading import Params, load, parse, path_keys, source_settings, to_json
from din.params.train import ComputeParams, LearningParams, ModelParams, Train
from din.params.validate import ValidateFeatures

__all__ = [
    "ComputeParams",
    "Data",
    "Featurize",
    "LearningParams",
    "ModelParams",
    "Params",
    "Scalar",
    "Simulate",
    "Table",
    "Train",
    "ValidateFeatures",
    "load",
    "parse",
    "path_keys",
    "source_settings",
    "to_json",
]
