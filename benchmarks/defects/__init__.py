"""Planted defects of data and of learning, and sound variants, driven through all stages: `make defects`.

delivery   a click log as a team would deliver it
plants     functions from a sound delivery to a defective one
table      the defects, with the gate that must catch each
variants   sound deliveries, on which no gate may close
learning   faults of the training code
drive      the stages up to the first that refuses
page       docs/defects.md
"""
