"""Processes and how they talk: plan, start, groups, exchange, report, heartbeats, leashes, launching."""
