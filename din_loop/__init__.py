"""From served answers back to training: scores and why, the server, its log, replay and watch."""
