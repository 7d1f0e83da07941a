"""The words of the `walkers` command, a few to a file: its options, and what it does.

What needs torch is imported by the function that needs it, so that help is instant.
"""
