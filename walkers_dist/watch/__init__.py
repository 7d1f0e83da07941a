"""A run followed in a terminal, from its directory alone: it may run anywhere that shares the disk."""
