# Before the time limit SLURM sends USR1 to this script, which passes it on: the run writes a checkpoint and leaves.
warned=0 run=
trap 'warned=1; [ -z "$run" ] || kill -USR1 "$run"' USR1
