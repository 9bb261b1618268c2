"""From served answers back to training: the server, its log, replay and watch."""
