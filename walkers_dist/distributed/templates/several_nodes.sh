#!/bin/bash
# {{said}}
{{directives}}

{{warning}}

# The ranks meet at rank 0, on the first node, by the address that SLURM itself has for it.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol show node --oneliner "$head" | grep -o 'NodeAddr=[^ ]*' | cut -d = -f 2)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT

# A rank that fails ends them all.
srun --kill-on-bad-exit=1{{binding}} bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  exec "$@"' rank \
  {{command}} &
{{waiting}}
