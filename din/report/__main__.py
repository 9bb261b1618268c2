"""`python -m din.report`: write the page about the run here, and print its titles, for stages that end."""

from pathlib import Path

from din.report.write import print_titles, write_report
from din.workspace import Workspace

print_titles(write_report(Workspace(Path())))
