"""From a bundle to a champion: gates, registry, promotion."""
