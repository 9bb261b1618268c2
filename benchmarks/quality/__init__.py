"""Model quality: `make quality`, `make paper`, `make attention`, each into its page below docs/.

A configuration file names logs (where their features come from) and rows (what is trained on them). Every (log, row,
seed) is one run; its figures are kept under `.din/quality/`, bound to features, parameters and code, so a killed
command goes on where it was. Configurations are chosen on validation rows; test rows are scored of the chosen alone.
"""
