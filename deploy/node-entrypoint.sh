#!/bin/sh
# The machine of a worker node: a container engine of its own. It makes no packet filter rules and
# no default bridge: the kubelet makes the pods' network, the proxy the rules.
set -eu

# Nothing meant for pods or Services leaves the node by its default route; the real routes win.
for range in ${KNARR_RANGES:-10.96.0.0/16 10.244.0.0/16}; do
    ip route replace unreachable "$range" metric 4000000000
done

mount --make-rshared /
mount -o remount,rw /sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # cgroup v2: one mount, of this container's part where it has a cgroup namespace.
    mount -o remount,bind,rw /sys/fs/cgroup
    knarr-cgroups
else
    # cgroup v1: each hierarchy is a mount of its own, of this container's part.
    for hierarchy in /sys/fs/cgroup/*/; do
        if mountpoint -q "$hierarchy"; then mount -o remount,bind,rw "$hierarchy"; fi
    done
fi

# An engine that crashes is started again, as a service manager would: the machine goes on.
engine=
stopping=
trap 'stopping=yes; [ -z "$engine" ] || kill "$engine" 2>/dev/null || true' TERM INT
while [ -z "$stopping" ]; do
    rm -f /run/docker.pid /run/knarr/docker.sock
    dockerd --host unix:///run/knarr/docker.sock --iptables=false --ip6tables=false --bridge=none --ip-forward=true \
        --shutdown-timeout 10 --log-level "${DOCKER_LOG_LEVEL:-warn}" "$@" &
    engine=$!
    # A signal interrupts the first wait; the second is for the engine's own end.
    wait "$engine" || true
    while kill -0 "$engine" 2>/dev/null; do wait "$engine" || true; done
    [ -n "$stopping" ] || { echo "the engine ended; starting it again" >&2; sleep 1; }
done
