"""What every test starts from, however pytest was started."""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # as many as a run has: bits depend on it, and so does time on a busy machine

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in its background with it ignored
