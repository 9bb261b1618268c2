"""Error rates of the comparison with the champion, on logs whose truth is known.

`python -m benchmarks.warranty` trains pairs of models and resamples scores, judges each pair as the gate does, and
compares the verdicts with the truth.
"""
