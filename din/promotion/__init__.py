"""From a finished run to the champion: judge it (gate), promote it, or undo a promotion (registry commands)."""
