#!/usr/bin/env bash
# Installs what Knarr needs and starts a Docker engine where none answers. Each step says what it
# does and does nothing when there is nothing to do. Usage: scripts/install.sh [--venv | --without-docker | --bench | --tests | --screenshots]
set -euo pipefail
cd "$(dirname "$0")/.."

state=.knarr
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] && return
    say "apt-get update"
    as_root apt-get update -qq || fail "apt-get update failed; check the network and run this again"
    apt_updated=yes
}

apt_install() {
    command -v apt-get >/dev/null || fail "need $*: install it with your package manager, then run this again (only Debian and Ubuntu are automated)"
    apt_update
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install $*; its message is above"
}

# need COMMAND PACKAGE...: the packages are to be installed when the command is missing; install_needed does it, all at once.
needed=()
need() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || needed+=("${@:2}"); }
install_needed() { [ ${#needed[@]} -eq 0 ] || apt_install "${needed[@]}"; }

python_ok() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The distribution's own before others: it is compiled by profiles of what programs do. One that was compiled here most often is not, and takes
# a fifth more of the processor for each request (docs/decisions/http-library.md).
find_python() {
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && python_ok "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

install_venv() {
    local python want
    python=$(find_python) || { apt_install python3 python3-venv; python=$(find_python) || fail "Python 3.11 or newer is needed; set PYTHON to one"; }
    want=$(cat requirements.lock requirements-aws.lock pyproject.toml | sha256sum | cut -d' ' -f1)
    [ "$(cat .venv/.installed 2>/dev/null)" = "$want" ] && return
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "making the virtual environment .venv from requirements.lock (a minute, once)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock ||
        fail "pip could not install requirements.lock; check the network or pip's index settings and run this again"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-aws.lock ||
        fail "pip could not install requirements-aws.lock; check the network or pip's index settings and run this again"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        fail "pip could not install the project itself; its message is above"
    echo "$want" >.venv/.installed
}

# What only tests run, and who only starts a cluster need not wait for; a test whose client is not there is skipped with a word.
install_clients() {
    local want
    want=$(sha256sum <requirements-clients.lock)
    [ "$(cat .venv/.clients 2>/dev/null)" = "$want" ] && return
    say "fetching other people's clients and what drives a browser, for the tests (180 MB, once)"
    if .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-clients.lock; then
        echo "$want" >.venv/.clients
    else
        say "pip could not install requirements-clients.lock: the tests of those clients and of the page in a browser are skipped"
    fi
}

# In which the page is tested and measured, and what gives it certificates to trust. Not every distribution has it as a package: Ubuntu has a snap.
want_browser() {
    command -v chromium >/dev/null && command -v certutil >/dev/null && return
    command -v apt-get >/dev/null && apt_update
    if apt-cache show chromium >/dev/null 2>&1; then
        needed+=(chromium libnss3-tools)
    else
        say "there is no package chromium to be had: the tests of the page in a browser are skipped"
    fi
}

# The registry that `knarr addon` puts into a cluster. The program alone: its package starts it as a service of this machine.
extract_registry() {
    { [ -x .venv/bin/docker-registry ] || command -v docker-registry >/dev/null; } && return
    local folder
    folder=$(mktemp -d)
    say "fetching docker-registry for the tests of add-ons"
    if (cd "$folder" && apt-get download -qq docker-registry >/dev/null 2>&1 && dpkg-deb -x docker-registry_*.deb .); then
        cp "$folder/usr/bin/docker-registry" .venv/bin/
    else
        say "there is no package docker-registry to be had: the test of the registry is skipped"
    fi
    rm -rf "$folder"
}

# Compiled once here, every start is a quarter faster, also where Python may not write its bytecode itself.
compile_modules() { .venv/bin/python -m compileall -q knarr services >/dev/null || true; }

docker_answers() { as_root docker info >/dev/null 2>&1; }

wait_for_docker() {
    for _ in $(seq 120); do
        docker_answers && return
        sleep 0.25
    done
    fail "the Docker engine did not answer within 30 s; see $1"
}

start_docker() {
    docker_answers && return
    if [ -d /run/systemd/system ]; then
        say "starting the Docker engine (systemctl start docker)"
        as_root systemctl start docker || true
        wait_for_docker "journalctl -u docker"
        return
    fi
    say "starting the Docker engine (dockerd; log in $state/dockerd.log)"
    mkdir -p "$state"
    as_root sh -c 'setsid nohup dockerd >"$0/dockerd.log" 2>&1 </dev/null & echo $! >"$0/dockerd.pid"' "$state"
    wait_for_docker "$state/dockerd.log"
}

install_venv
compile_modules
# The checks of `make lint` need no more.
[ "${1:-}" = "--venv" ] && exit
if [ "${1:-}" = "--tests" ]; then
    install_clients
    need mkfs.btrfs btrfs-progs
    # Tests of the container runtime interface start a containerd of their own.
    need containerd containerd
    want_browser
    extract_registry
    [ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || needed+=(containernetworking-plugins)
fi
if [ "${1:-}" = "--screenshots" ]; then
    install_clients
    want_browser
    need pngquant pngquant
    [ -n "$(fc-list :lang=ko 2>/dev/null)" ] || needed+=(fonts-nanum)
fi
need etcd etcd-server
need etcdctl etcd-client
need nft nftables
need ip iproute2
# The gateway runs it, from the first Ingress or Gateway on.
need haproxy haproxy
need busybox busybox-static
if [ "${1:-}" = "--bench" ]; then
    install_clients
    want_browser
    need wrk wrk
    need dnsperf dnsperf
    need dnsmasq dnsmasq-base
    need nginx nginx-light
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || PATH="$PATH:/usr/sbin" nginx -V 2>&1 | grep -q 'with-stream\( \|$\)' || needed+=(libnginx-mod-stream)
    need iperf3 iperf3
fi
if [ "${1:-}" = "--without-docker" ]; then
    install_needed
else
    need dockerd docker.io
    need docker docker.io
    install_needed
    start_docker
fi
