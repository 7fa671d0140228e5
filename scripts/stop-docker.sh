#!/usr/bin/env bash
# Stops the Docker engine that scripts/install.sh started, and no other.
set -euo pipefail
cd "$(dirname "$0")/.."
file=.knarr/dockerd.pid
[ -f "$file" ] || exit 0
pid=$(cat "$file")
if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    echo "stopping the Docker engine that was started for the cluster"
    if [ "$(id -u)" -eq 0 ]; then kill "$pid"; else sudo kill "$pid"; fi
    for _ in $(seq 120); do
        [ -d "/proc/$pid" ] || break
        sleep 0.25
    done
fi
rm -f "$file"
