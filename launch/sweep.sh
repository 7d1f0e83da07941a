#!/bin/bash
# walkers sweep configs/quickstart.yaml dynamics.lr=0.05,0.1,0.2 seed=0,1,2 --slurm --jobs 4 --time 1:00:00
#SBATCH --job-name=quickstart
#SBATCH --array=0-8%4
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
  python -m walkers_dist sweep configs/quickstart.yaml dynamics.lr=0.05,0.1,0.2 seed=0,1,2 control.bind=host --point "$SLURM_ARRAY_TASK_ID" &
run=$!

heard=
until [ "$heard" = "$warned" ]; do # the signal cuts `wait` short
  heard=$warned
  wait "$run"
  code=$?
done

# The job takes its turn again, and then goes on in the same run directory.
if [ "$warned" = 1 ] && [ "$code" -ge 128 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
