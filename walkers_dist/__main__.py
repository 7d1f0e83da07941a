"""`python -m walkers_dist CONFIG` means `walkers run CONFIG`; under torchrun and srun it is one rank of the run."""

import sys

from walkers_dist.cli import main

COMMANDS = (
    "run",
    "resume",
    "report",
    "fork",
    "list",
    "compare",
    "probe",
    "data",
    "schema",
    "_launch",
    "_analyst",
    "-h",
    "--help",
)

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words if words[:1] and words[0] in COMMANDS else ["run", *words]))
