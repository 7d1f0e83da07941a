#!/bin/bash
# {{said}}
{{directives}}

{{warning}}

# What the run did not wait for, one measurement after another.
srun --ntasks=1 --kill-on-bad-exit=1 \
  {{command}} &
{{waiting}}
