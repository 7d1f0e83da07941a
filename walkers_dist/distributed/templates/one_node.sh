#!/bin/bash
# {{said}}
{{directives}}

{{warning}}

# On the one node `walkers` starts the processes of the run itself.
srun --ntasks=1 --kill-on-bad-exit=1 \
  {{command}} &
{{waiting}}
