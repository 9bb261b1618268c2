"""Makers of the things that tests start from.

features       a feature folder
served_days    a simulated log as a service makes it: requests, and clicks
run            a finished run that waits for its gate
bundles        a bundle in a registry, without a model
documents_of   a sound document of every type
"""
