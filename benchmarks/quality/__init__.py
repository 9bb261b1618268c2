"""Model quality: `make quality`, `make paper` and `make attention`, each of which writes its page below docs/.

A configuration file names logs, with the source of their features, and rows, with the models to train on them. Every
(log, row, seed) is one run. Its figures are kept under `.din/quality/`, bound to features, parameters and code, so that
a killed command resumes where it was. Configurations are chosen on validation rows, and only the chosen ones score test
rows.
"""
