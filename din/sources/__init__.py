"""Logs of any form to the raw contract, `data/raw/`: one module per form, one writer and one set of checks for all."""
