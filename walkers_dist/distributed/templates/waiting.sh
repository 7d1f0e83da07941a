run=$!

heard=
until [ "$heard" = "$warned" ]; do # the signal cuts `wait` short
  heard=$warned
  wait "$run"
  code=$?
done

# The job takes its turn again, and then goes on in the same run directory.
if [ "$warned" = 1 ] && [ "$code" -ge 128 ]; then
  scontrol requeue "{{job}}"
fi
exit "$code"
