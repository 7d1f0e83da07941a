#!/usr/bin/env bash
# A SLURM cluster on this machine, without systemd, cgroups or accounting: cluster.sh up BASE [NODES] | down BASE
#
# Every node has a network namespace of its own, with its own loopback and address, joined by a bridge: a program that
# wrongly trusts one shared loopback fails here as it would on a real cluster. All that it writes lies under BASE, which
# every user must be able to pass. When it is up: export SLURM_CONF=BASE/slurm.conf
# Needs root and Debian's packages slurm-wlm, munge and iproute2; leaves with 3 where no network may be laid.
set -euo pipefail
action=$1 base=$2 nodes=${3:-2}
export SLURM_CONF=$base/slurm.conf

up() {
  mkdir -p "$base"/{munge,state,spool,log,run}
  chmod 755 "$base" "$base/munge"
  lay_network
  start_munge
  configure
  slurmctld -f "$SLURM_CONF"
  for i in $(seq "$nodes"); do
    mkdir -p "$base/spool/n$i"
    # not by `ip netns exec`, which hides the control groups that slurmd looks for
    nsenter --net="/run/netns/$mark-n$i" slurmd -f "$SLURM_CONF" -N "n$i"
  done
  for _ in $(seq 150); do
    [ "$(sinfo -h -N -o '%N %T' 2>/dev/null | grep -c ' idle$')" = "$nodes" ] && return
    sleep 0.2
  done
  echo "the nodes do not become idle:" >&2
  tail -n 20 "$base"/log/*.log >&2
  return 1
}

# Names and addresses that no other cluster on this machine has: NET.0/24, the machine itself is NET.254. Of two ranks
# gloo lets that with the greater address call the other: below 127, none would ever call one that sits on loopback.
lay_network() {
  for third in $(seq 1 250); do
    mark=wd$third net=198.18.$third
    ip link add "$mark" type bridge 2>"$base/log/network" && break
    grep -q "File exists" "$base/log/network" || { cat "$base/log/network" >&2; exit 3; }
  done
  echo "$mark" >"$base/run/network"
  ip address add "$net.254/24" dev "$mark"
  ip link set "$mark" up
  for i in $(seq "$nodes"); do
    ip netns add "$mark-n$i"
    ip link add "$mark-v$i" type veth peer name eth0 netns "$mark-n$i"
    ip link set "$mark-v$i" master "$mark" up
    ip -n "$mark-n$i" address add "$net.$i/24" dev eth0
    ip -n "$mark-n$i" link set lo up
    ip -n "$mark-n$i" link set eth0 up
  done
}

start_munge() {
  head -c 1024 /dev/urandom >"$base/munge/key"
  chmod 600 "$base/munge/key"
  munged --key-file="$base/munge/key" --socket="$base/munge/socket" --pid-file="$base/run/munged.pid" \
    --log-file="$base/log/munged.log" --seed-file="$base/munge/seed" --num-threads=2
}

configure() {
  local host port
  host=$(hostname -s) port=$((16000 + third))
  # cred_expire: a requeued job starts after 15 s, not after minutes. All nodes are on one host, hence the ports.
  cat >"$SLURM_CONF" <<CONF
ClusterName=walkers
SlurmctldHost=$host($net.254)
SlurmctldPort=$port
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$base/munge/socket,cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool/%n
SlurmctldPidFile=$base/run/slurmctld.pid
SlurmdPidFile=$base/run/slurmd.%n.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MinJobAge=600
InactiveLimit=0
JobRequeue=1
PropagateResourceLimits=NONE
$(for i in $(seq "$nodes"); do
    echo "NodeName=n$i NodeHostname=$host NodeAddr=$net.$i Port=$((17000 + i)) CPUs=8 RealMemory=4000 State=UNKNOWN"
  done)
PartitionName=ci Nodes=ALL Default=YES MaxTime=60 State=UP
CONF
}

# Ends the jobs and the daemons of this cluster, and nothing else.
down() {
  local pids pid mark
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 150); do
    [ -z "$(squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
  pids=$(cat "$base"/run/*.pid 2>/dev/null || true)
  for pid in $pids; do kill "$pid" 2>/dev/null || true; done
  for pid in $pids; do
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  mark=$(cat "$base/run/network")
  for name in $(ip netns list | cut -d' ' -f1); do
    case $name in "$mark"-n*) ip netns delete "$name" ;; esac
  done
  ip link delete "$mark"
}

case $action in
  up | down) "$action" ;;
  *) echo "cluster.sh up BASE [NODES] | down BASE" >&2; exit 2 ;;
esac
