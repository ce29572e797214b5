#!/bin/sh
# Where a test's cluster runs: processes, mounts, network and settings of its own, so that nothing of the machine is
# touched, several fit beside each other, and all of it goes when standard input ends, however the test ends.
#
#   enclosure.sh FOLDER NAME NODE...
#
# FOLDER is for everything that the cluster writes, and is removed in the end. NAME names its control groups, the one
# thing that it shares with the machine. `FOLDER/ready` then says by which process the rest is entered.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# The control groups of a cluster can be removed only after its last process.
sweep() {
    for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
        if [ -d "$root/$1" ]; then find "$root/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
    done
}

outside() {
    home=$1 name=$2
    # What a machine that went down in the middle has left.
    for left in /sys/fs/cgroup/nimify-cluster-* /sys/fs/cgroup/*/nimify-cluster-*; do
        left=${left##*/}
        if [ ! -d "/proc/${left##*-}" ]; then sweep "$left"; fi
    done
    unshare --net --mount --pid --ipc --uts --fork --kill-child sh "$0" inside "$@" || status=$?
    tries=0
    while sweep "$name" && [ -n "$(find /sys/fs/cgroup -maxdepth 2 -name "$name")" ] && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    rm -rf "$home"
    exit "${status:-0}"
}

# Kubelet sets these for the whole machine. It is shown files that say so already.
settings() {
    for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
        shown=$home/settings/${setting%=*}
        mkdir -p "${shown%/*}"
        echo "${setting#*=}" >"$shown"
        mount --bind "$shown" "/proc/sys/${setting%=*}"
    done
}

# The control plane at 10.0.0.1; each node behind a switch at 10.0.0.1N, with its pods in 10.244.N.0/24.
network() {
    ip link set lo up
    ip link add switch type bridge
    ip addr add 10.0.0.1/24 dev switch
    ip link set switch up
    number=0
    for node in "$@"; do
        number=$((number + 1))
        ip netns add "$node"
        ip link add "$node" type veth peer name eth0 netns "$node"
        ip link set "$node" master switch up
        ip -n "$node" link set lo up
        ip -n "$node" addr add "10.0.0.1$number/24" dev eth0
        ip -n "$node" link set eth0 up
        ip -n "$node" route add default via 10.0.0.1
        ip netns exec "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
        ip route add "10.244.$number.0/24" via "10.0.0.1$number"
    done
    echo 1 >/proc/sys/net/ipv4/ip_forward
}

inside() {
    home=$1 name=$2
    shift 2
    # As the machine numbers it: /proc is still the machine's.
    read -r pid _ </proc/self/stat
    mount --make-rshared /
    mount -t proc proc /proc
    # Engines and name services that run on the machine are not for what runs in here.
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir /run/netns
    # Programs that write to places of their own write beside them.
    mkdir -p "$home/var/upper" "$home/var/work"
    mount -t overlay -o "lowerdir=/var,upperdir=$home/var/upper,workdir=$home/var/work" overlay /var
    settings
    network "$@"
    for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -e "$root/cgroup.procs" ] || continue
        for node in "$@"; do mkdir -p "$root/$name/$node"; done
    done
    echo "$pid" >"$home/pid"
    mv "$home/pid" "$home/ready"
    # The first process waits for the end of the input. What others leave behind is reaped, because it ignores that.
    exec env --ignore-signal=CHLD cat >/dev/null
}

case $1 in
inside)
    shift
    inside "$@"
    ;;
*) outside "$@" ;;
esac
