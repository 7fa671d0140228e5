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
# More failures than this are no accident.
MAX_AGAIN=4
run=(.venv/bin/python -m pytest --durations=15)
if [ "$(id -u)" -ne 0 ]; then run=(sudo --preserve-env=CI "${run[@]}"); fi
if [ $# -gt 0 ]; then
    "${run[@]}" "$@"
    exit
fi

# suite ARG...: all tests of one kind. A few that failed are asked once more, alone: what passes then is named as flaky, which is a fault of its
# own and to be mended; it says nothing against what is tested.
suite() {
    local code=0 count
    "${run[@]}" --cache-clear "$@" || code=$?
    [ "$code" -eq 1 ] || return "$code"
    count=$(.venv/bin/python -c 'import json; print(len(json.load(open(".pytest_cache/v/cache/lastfailed"))))')
    [ "$count" -le "$MAX_AGAIN" ] || return "$code"
    "${run[@]}" "$@" --numprocesses=0 --last-failed || return 1
    printf '\033[1m==>\033[0m FLAKY: %s of the tests failed and passed when they were asked alone; the failures above are to be mended\n' "$count" >&2
}

failed=0
suite --numprocesses=auto --dist=loadfile -m "not ($shared)" || failed=$?
suite -m "$shared" || failed=$?
exit "$failed"
