"""What a Python program uses: run an experiment, open a run, look at many."""
