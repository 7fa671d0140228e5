#!/usr/bin/env bash
# Builds the images of compose.yaml: knarr/etcd, knarr/balancer, knarr/component, knarr/proxy, knarr/gateway, knarr/node. Quick the second time.
#   KNARR_BASE            base image (debian:bookworm-slim); made with debootstrap where it cannot be pulled
#   KNARR_MIRROR          Debian mirror for debootstrap
#   KNARR_CA_CERTIFICATES PEM files, separated by spaces, that the images shall trust besides Debian's
#   KNARR_TAG             tag of the images (dev)
#   KNARR_TARGETS         which of the Dockerfile's targets (all but registry)
#   KNARR_BUILD_NETWORK   network of the build steps (host)
set -euo pipefail
cd "$(dirname "$0")/.."

base=${KNARR_BASE:-debian:bookworm-slim}
tag=${KNARR_TAG:-dev}
# The Python that `base` has, for which the wheels are fetched.
python_version=3.11
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

have_base() { docker image inspect "$base" >/dev/null 2>&1; }

make_base() {
    local root suite log
    suite=$(sed -n 's/^debian:\([a-z]*\).*/\1/p' <<<"$base")
    [ -n "$suite" ] || fail "cannot pull $base, and only debian:SUITE can be made here; set KNARR_BASE to an image that is there"
    command -v debootstrap >/dev/null || {
        say "installing debootstrap"
        as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends debootstrap >/dev/null ||
            fail "$base cannot be pulled and debootstrap cannot be installed to make it"
    }
    say "no registry has $base for us: making it with debootstrap (a minute, once)"
    root=$(mktemp -d)
    log=$root.log
    # shellcheck disable=SC2064
    trap "as_root rm -rf '$root' '$log'" RETURN
    as_root debootstrap --variant=minbase "$suite" "$root" ${KNARR_MIRROR:-} 2>&1 | tee "$log" |
        awk '/^I: (Retrieving InRelease|Resolving|Checking|Extracting base|Extracting apt|Installing core|Unpacking the base|Configuring the base|Base system)/ { sub("^I: ", ""); print "    " $0; fflush() }' ||
        { tail -5 "$log" >&2; fail "debootstrap failed; its last lines are above"; }
    as_root sh -c "rm -rf '$root'/var/cache/apt/archives/*.deb '$root'/var/lib/apt/lists/*"
    as_root tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$base" >/dev/null
}

ensure_base() {
    have_base && return
    say "pulling $base"
    docker pull --quiet "$base" >/dev/null 2>&1 || make_base
}

# The wheels come from where this machine's pip finds them; the build then needs no index of its own.
ensure_wheels() {
    local folder=deploy/image/wheels fresh want
    want=$(cat requirements.in requirements.lock <(echo $python_version) | sha256sum | cut -d' ' -f1)
    [ "$(cat $folder/complete.txt 2>/dev/null)" = "$want" ] && return
    say "fetching the Python packages for the images"
    fresh=$(mktemp -d)
    rm -f $folder/*.whl $folder/complete.txt
    if .venv/bin/python -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version $python_version \
        -r requirements.in -c requirements.lock -d "$fresh" 2>"$fresh/log"; then
        mv "$fresh"/*.whl $folder/
        echo "$want" >$folder/complete.txt
    else
        say "this machine's pip cannot fetch them ($(grep -m1 ERROR "$fresh/log" || echo "see pip's settings")); the build will ask its own index"
    fi
    rm -rf "$fresh"
}

ensure_certificates() {
    local folder=deploy/image/certificates number=0 file
    rm -f $folder/*.crt
    for file in ${KNARR_CA_CERTIFICATES:-}; do
        [ -r "$file" ] || fail "KNARR_CA_CERTIFICATES: cannot read $file"
        number=$((number + 1))
        cp "$file" "$folder/extra-$number.crt"
    done
}

build() {
    local started=$SECONDS log
    log=$(mktemp)
    say "building knarr/$1:$tag"
    docker build --network "${KNARR_BUILD_NETWORK:-host}" --build-arg BASE="$base" --target "$1" --tag "knarr/$1:$tag" . 2>&1 | tee "$log" |
        { if [ -t 1 ]; then awk '/^Step / { printf "\r\033[K    %.100s", $0; fflush() } END { printf "\r\033[K" }'; else cat >/dev/null; fi; } ||
        { tail -25 "$log" >&2; rm -f "$log"; fail "the build of knarr/$1 failed; its last lines are above"; }
    rm -f "$log"
    echo "    $((SECONDS - started)) s"
}

docker info >/dev/null 2>&1 || fail "no Docker engine answers; \`make install\` starts one"
[ -x .venv/bin/python ] || fail "there is no .venv; \`make install\` makes it"
scripts/compose-plugin.sh
ensure_base
ensure_wheels
ensure_certificates
for target in ${KNARR_TARGETS:-etcd balancer node component proxy gateway}; do build $target; done
docker image ls --filter reference='knarr/*' --filter reference="knarr/*:$tag" --format '    {{.Repository}}:{{.Tag}}  {{.Size}}' | grep ":$tag "
