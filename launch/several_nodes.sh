#!/bin/bash
# walkers submit configs/quickstart.yaml walkers=8 --nodes 2 --gpus-per-node 4 --time 12:00:00 --account my_account
#SBATCH --job-name=quickstart
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=5
#SBATCH --cpus-per-task=1
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --account=my_account
#SBATCH --signal=B:USR1@60
#SBATCH --open-mode=append
#SBATCH --requeue

# Before the time limit SLURM sends USR1 to this script, which passes it on: the run writes a checkpoint and leaves.
warned=0 run=
trap 'warned=1; [ -z "$run" ] || kill -USR1 "$run"' USR1

# The ranks meet at rank 0, on the first node, by the address that SLURM itself has for it.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol show node --oneliner "$head" | grep -o 'NodeAddr=[^ ]*' | cut -d = -f 2)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT

# A rank that fails ends them all.
srun --kill-on-bad-exit=1 --gpu-bind=none bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  exec "$@"' rank \
  python -m walkers_dist run configs/quickstart.yaml walkers=8 control.bind=host &
run=$!

heard=
until [ "$heard" = "$warned" ]; do # the signal cuts `wait` short
  heard=$warned
  wait "$run"
  code=$?
done

# The job takes its turn again, and then goes on in the same run directory.
if [ "$warned" = 1 ] && [ "$code" -ge 128 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
