"""The first five minutes and the daily look: `din init`, `status`, `doctor`, and the pages of the parameters."""
