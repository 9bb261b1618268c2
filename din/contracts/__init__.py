"""The documents that stages hand to each other, and what a report must hold."""
