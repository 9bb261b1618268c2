"""Makers of the things that tests start from.

log            a click log as a team would deliver it
features       a feature folder
served_days    a simulated log as a service makes it: requests, and clicks
run            a finished run that waits for its gate
bundles        a bundle in a registry, without a model
documents_of   a sound document of every type
"""
