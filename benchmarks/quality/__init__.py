"""Model quality on real logs: `make quality` and `make paper` (docs/quality.md, docs/paper.md).

A configuration file names logs (where their features come from) and rows (what is trained on them). Every (log, row,
seed) is one run; its figures are kept under `.din/quality/`, bound to features, parameters and code, so a killed
command goes on where it was. Configurations were chosen on validation rows; the test rows are scored once, here.
"""
