"""A run as other tools show it: its figures and pictures, from its directory, after it has ended or while it runs."""
