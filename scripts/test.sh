#!/usr/bin/env bash
# Runs all the tests, installing first what they need. Arguments go to pytest, in one run.
# Without arguments: first what may run side by side, on all cores, then one after the other what shares the machine's engine and network.
# A Docker engine that was started for the tests is stopped after them.
set -euo pipefail
cd "$(dirname "$0")/.."
had_engine=no
[ -f .knarr/dockerd.pid ] && had_engine=yes
scripts/install.sh --tests
[ "$had_engine" = yes ] || trap 'scripts/stop-docker.sh' EXIT
shared='docker or net or cluster or compose'
run=(.venv/bin/python -m pytest --durations=15)
if [ "$(id -u)" -ne 0 ]; then run=(sudo --preserve-env=CI "${run[@]}"); fi
if [ $# -gt 0 ]; then
    "${run[@]}" "$@"
    exit
fi
failed=0
"${run[@]}" --numprocesses=auto --dist=loadfile -m "not ($shared)" || failed=$?
"${run[@]}" -m "$shared" || failed=$?
exit "$failed"
