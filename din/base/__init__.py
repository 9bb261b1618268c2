"""What every other room stands on: errors, files, processes, strictly parsed documents."""
