#!/usr/bin/env bash
# Starts the registry of compose.yaml, through which the nodes pull. The profile is kept in .env, where every `docker compose` finds it.
#   KNARR_REGISTRY_IMAGE     its image (knarr/registry, built here from Debian's docker-registry)
#   KNARR_REGISTRY_UPSTREAM  what it keeps copies of (https://registry-1.docker.io); empty: nothing, images are pushed to it
#   KNARR_REGISTRY_PORT      its port on this machine's loopback (5000)
set -euo pipefail
cd "$(dirname "$0")/.."

[ -n "${KNARR_REGISTRY_IMAGE:-}" ] || KNARR_TARGETS=registry scripts/images.sh
. scripts/profiles.sh
add_profile registry
docker compose up -d --wait registry
port=${KNARR_REGISTRY_PORT:-5000}
if [ -n "${KNARR_REGISTRY_UPSTREAM-https://registry-1.docker.io}" ]; then
    cat <<EOF
The nodes pull images of docker.io through it: each comes from there once. \`KNARR_REGISTRY_UPSTREAM= make registry\` makes it one to push to.
EOF
else
    cat <<EOF
Push to it, and name the image so in a pod:
  docker tag app:1 localhost:$port/app:1 && docker push localhost:$port/app:1
  kubectl run app --image=registry:5000/app:1
EOF
fi
