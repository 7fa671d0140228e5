#!/usr/bin/env bash
# Runs all the tests, installing first what they need. Arguments go to pytest.
# A Docker engine that was started for the tests is stopped after them.
set -euo pipefail
cd "$(dirname "$0")/.."
had_engine=no
[ -f .knarr/dockerd.pid ] && had_engine=yes
scripts/install.sh
[ "$had_engine" = yes ] || trap 'scripts/stop-docker.sh' EXIT
run=(.venv/bin/python -m pytest --durations=15 "$@")
if [ "$(id -u)" -ne 0 ]; then run=(sudo --preserve-env=CI "${run[@]}"); fi
"${run[@]}"
