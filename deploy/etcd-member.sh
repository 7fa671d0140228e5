#!/bin/bash
# Usage: knarr-etcd                  one member of the store, named like its host
#        knarr-etcd backup           writes a snapshot of the running member to standard output
#        knarr-etcd restore [force]  makes the snapshot on standard input the state of a store of one member
#        knarr-etcd forget           makes this member one without data, to join a store that was restored
# ADDRESS is the member's, PEERS those of the others (environment). The state that was is moved aside, never deleted.
# A member with data comes back as what it is. One without data joins the members that answer; it
# starts a store of its own only if none does and it is the FIRST one.
# Members and clients show certificates of the store's own authority; etcd reads those files for each connection, so that
# new ones count without a restart. etcdctl finds them in the environment (ETCDCTL_CACERT and so on).
set -euo pipefail
# An engine may give every container its proxies; members and their store are within the cluster.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

data=/var/lib/etcd
tls=/etc/knarr
name=$(hostname)
address=$ADDRESS
read -ra peers <<<"${PEERS:-}"
peer_url=https://$address:2382
# Where a member of before this was TLS is known to the others, until it has told them otherwise; then there is the mark.
plain_url=http://$address:2380
mark=$data/peers-by-tls
export ETCDCTL_API=3 ETCDCTL_CACERT=$tls/ca.crt ETCDCTL_CERT=$tls/server.crt ETCDCTL_KEY=$tls/server.key
options=(
    --name="$name" --data-dir=$data
    --listen-client-urls=https://0.0.0.0:2379 --advertise-client-urls="https://$address:2379"
    --cert-file=$tls/server.crt --key-file=$tls/server.key --trusted-ca-file=$tls/ca.crt --client-cert-auth
    --initial-advertise-peer-urls="$peer_url"
    --peer-cert-file=$tls/server.crt --peer-key-file=$tls/server.key --peer-trusted-ca-file=$tls/ca.crt --peer-client-cert-auth
    --quota-backend-bytes=8589934592 --max-request-bytes=8388608
    --logger=zap --log-outputs=stderr --log-level=warn
)
listen_peers=$peer_url
say() { printf 'knarr-etcd: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
has_data() { compgen -G "$data/member/wal/*.wal" >/dev/null; }
is_running() { timeout 0.3 bash -c ">/dev/tcp/$address/2379" 2>/dev/null; }
own() { etcdctl --endpoints "https://$address:2379" --dial-timeout=1s --command-timeout=3s "$@"; }
others() { etcdctl --endpoints "$(printf 'https://%s:2379,' "${living[@]}" | sed 's/,$//')" --dial-timeout=1s --command-timeout=3s "$@"; }

# Sets `living` to the other members whose port is open.
look() {
    local peer
    living=()
    for peer in "${peers[@]}"; do
        if timeout 0.3 bash -c ">/dev/tcp/$peer/2379" 2>/dev/null; then living+=("$peer"); fi
    done
    [ ${#living[@]} -gt 0 ]
}

# The id of the member with our peer address, and whether it takes part already: `ID started|unstarted learner URL`.
entry() { others member list | awk -F', ' -v url="$peer_url" -v plain="$plain_url" '$4 == url || $4 == plain { print $1, $2, $6, $4 }'; }

# Lets a member of before, whose data is lost, go; and us in, without a vote until we have caught up. Sets `initial`.
join() {
    local id state url
    read -r id state _ url < <(entry) || true
    if [ "${state:-}" = started ] || [ "${url:-}" = "$plain_url" ]; then
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
        if look 2>/dev/null && read -r id _ learner _ < <(entry 2>/dev/null); then
            [ "$learner" = true ] || return 0
            others member promote "$id" >/dev/null 2>&1 && { say "this member takes part in votes now"; return 0; }
        fi
        sleep 0.3
    done
}

# Tells the other members of the address with TLS, as soon as there is a leader. From its next start on it is the only one.
move() {
    local id
    until id=$(own member list 2>/dev/null | awk -F', ' -v name="$name" '$3 == name { print $1 }') && [ -n "$id" ] &&
        own member update "$id" --peer-urls="$peer_url" >/dev/null 2>&1; do
        sleep 0.5
    done
    : >$mark
    say "the other members reach this one by TLS now"
}

backup() {
    local part=$data/backup.part
    # shellcheck disable=SC2064
    trap "rm -f $part $part.part" EXIT
    etcdctl --endpoints "https://$address:2379" snapshot save $part >&2
    cat $part
}

# Moves the state that is there, if any, to a folder that says when.
set_aside() {
    local aside
    aside=$data/before-restore-$(date -u +%Y%m%dT%H%M%SZ)
    [ -e $data/member ] || return 0
    mv $data/member "$aside"
    say "the state that was there is kept in the volume as ${aside##*/}"
}

# Whether a snapshot carries the digest of what is before it, as etcd writes it.
is_whole() {
    local size digest
    size=$(stat -c %s "$1")
    [ $((size % 512)) -eq 32 ] || return 1
    digest=$(tail -c 32 "$1" | od -An -v -tx1 | tr -d ' \n')
    [ "$(head -c $((size - 32)) "$1" | sha256sum | cut -d' ' -f1)" = "$digest" ]
}

restore() {
    local incoming=$data/incoming.db fresh=$data/restoring
    is_running && fail "this member runs; stop the cluster first"
    if has_data && [ "${1:-}" != force ]; then fail "there is a state already; with 'restore force' it is set aside"; fi
    rm -rf $incoming $fresh
    # shellcheck disable=SC2064
    trap "rm -rf $incoming $fresh" EXIT
    cat >$incoming
    is_whole $incoming || fail "the snapshot is damaged or incomplete; nothing has changed"
    etcdctl snapshot status $incoming --write-out=table >&2
    etcdctl snapshot restore $incoming --data-dir=$fresh --name="$name" --initial-advertise-peer-urls="$peer_url" \
        --initial-cluster="$name=$peer_url" --initial-cluster-token="$(cat /proc/sys/kernel/random/uuid)" >&2 ||
        fail "the snapshot cannot be restored; nothing has changed"
    set_aside
    : >$mark
    mv $fresh/member $data/member
    say "restored"
}

case ${1:-} in
    backup) backup; exit ;;
    restore) restore "${2:-}"; exit ;;
    forget) if is_running; then fail "this member runs; stop the cluster first"; fi; set_aside; exit ;;
    '') ;;
    *) fail "unknown command $1; see the head of this script" ;;
esac

if ! has_data; then
    : >$mark
    if look || [ -z "${FIRST:-}" ]; then
        until look && join; do
            say "cannot join yet; trying again"
            sleep 0.5
        done
        options+=(--initial-cluster-state=existing --initial-cluster="$initial")
    else
        options+=(--initial-cluster-state=new --initial-cluster="$name=$peer_url" --initial-cluster-token="$(cat /proc/sys/kernel/random/uuid)")
    fi
elif [ ! -e $mark ]; then
    listen_peers+=,$plain_url
    move &
fi
if [ -z "${FIRST:-}" ]; then promote & fi
exec etcd "${options[@]}" --listen-peer-urls="$listen_peers"
