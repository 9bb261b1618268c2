"""The conditions for promotion: what is judged about a candidate, and the verdict."""
