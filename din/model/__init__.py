"""The models: pure functions of (embedding rows, packed batch) to logits, with their dense weights.

Shape letters: B impressions, T packed behaviours, U distinct items, C candidates of one request, L its behaviours,
D item width (item fields × embedding dim), K behaviour width (D + behaviour fields × dim), H hidden units,
R rows of the embedding table at hand, W its width.
"""
