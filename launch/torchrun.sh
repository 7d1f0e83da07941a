#!/bin/bash
# Without SLURM: the same line on every machine, one after another in any order; the first machine's address is HEAD.
#   launch/torchrun.sh HEAD MACHINES RANKS CONFIG [key=value …]      RANKS: on each machine; the spare ones leave
# One machine alone:
#   torchrun --standalone --local-addr 127.0.0.1 --nproc-per-node=RANKS --max-restarts=3 -m walkers_dist CONFIG
# A rank that dies is started again, with all others, and the run goes on from its checkpoint in the same directory.
head=$1 machines=$2 ranks=$3
shift 3
own=$(ip -oneline route get "$head" | sed 's/.* src \([^ ]*\).*/\1/') # a machine may know its own name by loopback only
[ "$own" = "$head" ] && is_host=1 || is_host=0

exec torchrun --nnodes="$machines" --nproc-per-node="$ranks" --max-restarts=3 --local-addr="$own" \
  --rdzv-backend=c10d --rdzv-endpoint="$head:29400" --rdzv-id=walkers --rdzv-conf="is_host=$is_host" \
  -m walkers_dist "$@"
