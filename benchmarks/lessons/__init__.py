"""Faults of learning, planted in the lesson of a day, and what the product's gates say of the model that learned it.

`python -m benchmarks.lessons` prints which learning rates are promoted on three logs, and what they do the next day.
"""
