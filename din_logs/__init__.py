"""Publishers' logs in their own formats, and simulated logs whose truth is known."""
