"""Makers of the things that tests start from.

events         a raw log of random ragged events
raw_logs       small tables as files, and a fetch of them
features       a feature folder
run            a finished run that waits for its gate
bundles        a bundle that the pipeline exports, and small ones without a model
documents_of   a sound document of every type
"""
