"""First-order measurements of where the walkers are."""
