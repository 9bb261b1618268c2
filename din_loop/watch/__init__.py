"""Look after the champion: compare each day of service with the days before, and keep an alarm for what is unlike them.

log of the server ─► traffic.py: what clients sent and the model answered ─┐
clicks ────────────► outcomes.py: how right it was ────────────────────────┴─► spread.py ─► alarms.py ─► registry
"""
