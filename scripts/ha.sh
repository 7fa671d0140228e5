#!/usr/bin/env bash
# Makes the cluster of compose.yaml highly available: three members of etcd, two of each component of the control plane.
# The profile is kept in .env, where every `docker compose` command finds it.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -n "$(docker compose ps -q apiserver)" ] || { echo 'error: the cluster does not run; start it with `docker compose up -d --wait`' >&2; exit 1; }
. scripts/profiles.sh
has_profile ha || add_profile ha
docker compose up -d --wait
docker compose exec -T etcd etcdctl member list --write-out=table
echo 'any one of each may be lost now; .env keeps the profile: every `docker compose` here means them too'
