"""Forces between walkers and center: one algorithm, one file."""
