"""A walker's own move: one algorithm, one file."""
