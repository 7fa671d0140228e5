#!/bin/sh
# Lets an engine in this container make cgroups: knarr-cgroups [ROOT]. ROOT (/sys/fs/cgroup) is this container's part, writable.
set -eu
root=${1:-/sys/fs/cgroup}
attempts=${ATTEMPTS:-100}

# cgroup v1: each hierarchy is a mount of its own and asks for nothing.
[ -e "$root/cgroup.controllers" ] || exit 0

# cgroup v2: processes live in leaves only, and the controllers are handed on explicitly. The kernel refuses the latter while
# a process is in this group; a health check may just be starting one here, so both are done until they succeed.
leaf=$root/init
mkdir -p "$leaf"
while :; do
    # What has ended meanwhile, like xargs' own children, is refused.
    xargs -rn1 <"$root/cgroup.procs" >"$leaf/cgroup.procs" 2>/dev/null || true
    if sed -e 's/ / +/g' -e 's/^/+/' <"$root/cgroup.controllers" 2>/dev/null >"$root/cgroup.subtree_control"; then break; fi
    attempts=$((attempts - 1))
    [ "$attempts" -gt 0 ] || { echo "the cgroup's controllers cannot be handed on: a process stays in $root" >&2; exit 1; }
    sleep 0.05
done
