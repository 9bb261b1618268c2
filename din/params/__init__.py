"""The parameters of the pipeline: `din.params.reading.load` reads params.yaml, with one frozen dataclass per block."""
