#!/usr/bin/env bash
# A real Slurm on one machine: two pretend nodes in partitions `main` and `short`, one with a pretend GPU in `gpu`.
# No systemd, no cgroups, no accounting. Needs root, because munge and the nodes' daemons do.
#
#   cluster.sh install        the packages, from Debian or Ubuntu
#   cluster.sh up FOLDER      start; state and logs lie in FOLDER
#   cluster.sh down FOLDER    stop
#
# Exit code 77 (as test harnesses have it): Slurm cannot be had here; the reason is printed.
set -euo pipefail

readonly CONF=/etc/slurm # daemons and jobs alike look here: the executor takes SLURM_CONF out of a job's environment
readonly NODES=(c1 c2 g1)

unfit() {
    echo "cluster.sh: no Slurm here: $*" >&2
    exit 77
}

install_packages() {
    [ "$(id -u)" = 0 ] || unfit "only root can install and start it"
    if command -v slurmctld slurmd munged >/dev/null; then return; fi
    command -v apt-get >/dev/null || unfit "there is no apt-get to install slurm-wlm and munge with"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; } >/dev/null 2>&1 ||
        unfit "apt-get cannot install slurm-wlm and munge"
}

# The memory of a job is measured every second and enforced by killing it; a job past its time has a second to end.
configuration() {
    local host
    host=$(hostname -s)
    cat <<CONF
ClusterName=pretend
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$1/controller
SlurmdSpoolDir=$1/%n
SlurmctldPidFile=$1/controller.pid
SlurmdPidFile=$1/%n.pid
SlurmctldLogFile=$1/controller.log
SlurmdLogFile=$1/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
KillWait=1
MinJobAge=3600
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
GresTypes=gpu
NodeName=c[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 RealMemory=16000
NodeName=g1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17003 CPUs=4 RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes=c[1-2] Default=YES MaxTime=INFINITE
PartitionName=short Nodes=c[1-2] MaxTime=24:00:00
PartitionName=gpu Nodes=g1 MaxTime=INFINITE
CONF
}

up() {
    local folder
    install_packages
    [ ! -e $CONF/slurm.conf ] || unfit "$CONF/slurm.conf is there already: this machine belongs to a cluster, or one is up"
    folder=$(mkdir -p "$1/controller" && cd "$1" && pwd)
    configuration "$folder" >"$folder/slurm.conf"
    echo 'NodeName=g1 Name=gpu File=/dev/null' >"$folder/gres.conf"
    mkdir -p $CONF && ln -s "$folder/slurm.conf" "$folder/gres.conf" $CONF/
    start "$folder" || { down "$folder"; unfit "its daemons did not start; see $folder/*.log"; }
}

start() {
    if ! munge --no-input >/dev/null 2>&1; then
        install -d -o munge -g munge -m 755 /run/munge
        runuser -u munge -- munged --pid-file=/run/munge/munged.pid && touch "$1/munge.ours"
    fi
    slurmctld
    for node in "${NODES[@]}"; do
        mkdir -p "$1/$node"
        slurmd -N "$node"
    done
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --Node --format='%N %T' | sort -u | grep -c idle)" = "${#NODES[@]}" ] && return
        sleep 0.5
    done
    return 1
}

down() {
    local pid
    scancel --user=root >/dev/null 2>&1 || true
    for pid in "$1"/*.pid; do
        [ ! -e "$pid" ] || kill "$(cat "$pid")" || true
    done
    if [ -e "$1/munge.ours" ]; then kill "$(cat /run/munge/munged.pid)" || true; fi
    if [ "$(readlink -f $CONF/slurm.conf)" = "$(readlink -f "$1/slurm.conf")" ]; then
        rm -f $CONF/slurm.conf $CONF/gres.conf
    fi
}

case "${1:-} $#" in
"install 1") install_packages ;;
"up 2") up "$2" ;;
"down 2") down "$2" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
