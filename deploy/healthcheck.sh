#!/bin/sh
# Usage: knarr-healthcheck COMMAND... : healthy when the command succeeds.
# The engine asks every second, so that a start is seen at once; a container that was healthy is
# looked at only so often, because each look costs a process. /dev/shm is new with every start.
state=/dev/shm/knarr-healthy
[ -e "$state" ] && sleep "${HEALTH_PERIOD_SECONDS:-10}"
if "$@" >/dev/null; then
    : >"$state"
else
    rm -f "$state"
    exit 1
fi
