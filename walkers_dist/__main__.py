"""`python -m walkers_dist CONFIG` means `walkers run CONFIG`; under torchrun and srun it is one rank of the run."""

import sys

from walkers_dist.cli import main

if __name__ == "__main__":
    sys.exit(main(default="run"))
