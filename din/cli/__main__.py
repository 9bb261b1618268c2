"""`python -m din.cli` is `din`."""

from din.cli import main

main()
