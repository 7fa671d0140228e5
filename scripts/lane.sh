#!/usr/bin/env bash
# Runs a command as on a machine of its own, beside whatever else runs on this one. Its own are: the network (interfaces, ports, routes, packet
# filter), which leads nowhere else; a Docker engine at the usual socket; the processes and mounts, all of which end with the command.
# Usage (as root): scripts/lane.sh COMMAND [ARGUMENT...]
set -euo pipefail

# outside COMMAND...: makes the machine, and takes away what it leaves.
outside() {
    local code=0
    folder=$(mktemp -d "${TMPDIR:-/tmp}/knarr-lane-XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    unshare --net --mount --pid --fork --kill-child --mount-proc "$0" --inside "$folder" "$@" <&0 &
    machine=$!
    trap 'kill -KILL -- $(cat "/proc/$machine/task/$machine/children") "$machine"' INT TERM
    wait "$machine" || code=$?
    # A signal ends the first wait alone.
    wait "$machine" 2>/dev/null || true
    exit "$code"
}

# /sys shows the interfaces of the network in which it was mounted. What is mounted below it stays.
show_network() {
    mkdir "$1/sys"
    mount -t sysfs lane "$1/sys"
    local point
    while read -r point; do mount --bind "$point" "$1$point"; done < <(awk '$5 ~ "^/sys/" { print $5 }' /proc/self/mountinfo)
    mount --rbind "$1/sys" /sys
}

# An address by which pods reach what listens on their node, in a network that has nobody else. There is no way to any other.
make_network() {
    ip link set lo up
    ip link add uplink type veth peer name nobody
    ip address add 192.0.2.2/24 dev uplink
    ip link set uplink up
    ip link set nobody up
}

start_engine() {
    # Whoever is asked by another socket, or for another engine, is the machine's.
    mount -t tmpfs lane /run
    unset DOCKER_HOST DOCKER_CONTEXT
    dockerd --data-root "$1/docker" >"$1/dockerd.log" 2>&1 &
    engine=$!
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.25
    done
    tail -20 "$1/dockerd.log" >&2
    echo 'error: the Docker engine did not answer within 30 s; its last words are above' >&2
    exit 1
}

[ "${1:-}" = --inside ] || outside "$@"
folder=$2
shift 2
make_network
show_network "$folder"
start_engine "$folder"
code=0
"$@" || code=$?
# The first process of the machine ends, and the kernel all others with it, before anybody hears of it.
exit "$code"
