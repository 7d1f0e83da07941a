"""Who does what in a run: coordinator, walkers, analyst, and a rank from start to end."""
