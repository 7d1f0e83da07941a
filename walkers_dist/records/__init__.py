"""What a run writes down: its directory, tables, snapshots and checkpoints, safe against a kill at any instant."""
