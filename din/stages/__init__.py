"""The stages of dvc.yaml: which there are, how one runs, and which code each depends on."""
