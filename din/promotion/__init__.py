"""From a finished run to the champion: judge (gate), decide (promote), undo (registry commands)."""
