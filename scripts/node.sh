#!/usr/bin/env bash
# Adds one more machine to the cluster of compose.yaml: starts the next of its profiles node-3, node-4, …
# The profile is kept in .env, where every `docker compose` command finds it: restart, down and up mean this machine too.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ -n "$(docker compose ps -q apiserver)" ] || fail "the cluster does not run; start it with \`docker compose up -d --wait\`"
. scripts/profiles.sh
next=
for profile in $(docker compose config --profiles | grep '^node-' | sort -V); do
    last=$profile
    has_profile "$profile" || { next=$profile; break; }
done
[ -n "$next" ] || fail "compose.yaml has no machine after $last, and that one runs; docs/compose.md tells how to write more"
add_profile "$next"
docker compose up -d --wait
cat <<EOF
$next runs, and .env keeps its profile: every \`docker compose\` here means it too.
  kubectl get nodes -o wide              it is Ready in a moment
  .venv/bin/knarr load IMAGE             copies to it what it lacks
  docker compose stop $next             a machine lost; \`docker compose start $next\` brings it back
  make node                              one more
EOF
