#!/bin/bash
# Usage: knarr-etcd ADDRESS [PEER_ADDRESS...] : one member of the store, named like its host.
# A member with data comes back as what it is. One without data joins the members that answer at the
# other addresses; it starts a store of its own only if none does and it is the FIRST one (environment).
set -euo pipefail

data=/var/lib/etcd
name=$(hostname)
address=$1
shift
peers=("$@")
peer_url=http://$address:2380
options=(
    --name="$name" --data-dir=$data
    --listen-client-urls=http://0.0.0.0:2379 --advertise-client-urls="http://$address:2379"
    --listen-peer-urls="http://$address:2380" --initial-advertise-peer-urls="$peer_url"
    --quota-backend-bytes=8589934592 --max-request-bytes=8388608
    --logger=zap --log-outputs=stderr --log-level=warn
)
say() { printf 'knarr-etcd: %s\n' "$*" >&2; }
others() { ETCDCTL_API=3 etcdctl --endpoints "$(printf 'http://%s:2379,' "${living[@]}" | sed 's/,$//')" --dial-timeout=1s --command-timeout=3s "$@"; }

# Sets `living` to the other members whose port is open.
look() {
    local peer
    living=()
    for peer in "${peers[@]}"; do
        if timeout 0.3 bash -c ">/dev/tcp/$peer/2379" 2>/dev/null; then living+=("$peer"); fi
    done
    [ ${#living[@]} -gt 0 ]
}

# The id of the member with our peer address, and whether it takes part already: `ID started|unstarted learner`.
entry() { others member list | awk -F', ' -v url="$peer_url" '$4 == url { print $1, $2, $6 }'; }

# Lets a member of before, whose data is lost, go; and us in, without a vote until we have caught up. Sets `initial`.
join() {
    local id state
    read -r id state _ < <(entry) || true
    if [ "${state:-}" = started ]; then
        say "this member is known, but has no data any more: it joins anew"
        others member remove "$id" >/dev/null || return 1
        id=
    fi
    [ -n "${id:-}" ] || others member add "$name" --learner --peer-urls="$peer_url" >/dev/null || return 1
    initial=$(others member list | awk -F', ' -v url="$peer_url" -v name="$name" '
        { printf "%s%s=%s", (NR > 1 ? "," : ""), ($4 == url ? name : $3), $4 }') || return 1
    [[ $initial == *"$name=$peer_url"* ]]
}

# Gives the vote to this member as soon as the leader says that it has caught up.
promote() {
    local id learner
    while true; do
        if look 2>/dev/null && read -r id _ learner < <(entry 2>/dev/null); then
            [ "$learner" = true ] || return 0
            others member promote "$id" >/dev/null 2>&1 && { say "this member takes part in votes now"; return 0; }
        fi
        sleep 0.3
    done
}

if ! compgen -G "$data/member/wal/*.wal" >/dev/null; then
    if look || [ -z "${FIRST:-}" ]; then
        until look && join; do
            say "cannot join yet; trying again"
            sleep 0.5
        done
        options+=(--initial-cluster-state=existing --initial-cluster="$initial")
    else
        options+=(--initial-cluster-state=new --initial-cluster="$name=$peer_url" --initial-cluster-token="$(cat /proc/sys/kernel/random/uuid)")
    fi
fi
if [ -z "${FIRST:-}" ]; then promote & fi
exec etcd "${options[@]}"
