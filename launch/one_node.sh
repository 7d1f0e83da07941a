#!/bin/bash
# walkers submit configs/quickstart.yaml --time 1:00:00
#SBATCH --job-name=quickstart
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=6
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@60
#SBATCH --open-mode=append
#SBATCH --requeue

# Before the time limit SLURM sends USR1 to this script, which passes it on: the run writes a checkpoint and leaves.
warned=0 run=
trap 'warned=1; [ -z "$run" ] || kill -USR1 "$run"' USR1

# On the one node `walkers` starts the processes of the run itself.
srun --ntasks=1 --kill-on-bad-exit=1 \
  python -m walkers_dist run configs/quickstart.yaml control.bind=host &
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
