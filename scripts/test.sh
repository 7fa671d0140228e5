#!/usr/bin/env bash
# Runs all the tests, installing first what they need. Arguments go to pytest, in one run.
# Without arguments: first what needs neither an engine nor networks, on all cores, and beside it the tests that need an engine, each on a machine of
# its own (scripts/lane.sh); then side by side those of the compose cluster and of networks. CONTRIBUTING.md says which marker leads where.
# A Docker engine that was started for the tests is stopped after them.
set -euo pipefail
cd "$(dirname "$0")/.."
had_engine=no
[ -f .knarr/dockerd.pid ] && had_engine=yes
beside=() output=$(mktemp -d)
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo --preserve-env=CI); fi
finish() {
    [ ${#beside[@]} -eq 0 ] || { "${root[@]}" kill "${beside[@]}" && wait "${beside[@]}"; } 2>/dev/null || true
    rm -rf "$output"
    [ "$had_engine" = yes ] || scripts/stop-docker.sh
}
trap finish EXIT
# pytest ends in order and not by the signal, so bash would go on with the next kind of tests. Asked twice nobody waits any more.
trap 'trap - INT; [ ${#beside[@]} -eq 0 ] || wait "${beside[@]}" || true; exit 130' INT
scripts/install.sh --tests
# Half of what it takes to import the tests is to rewrite their assertions: what one run has written, the next reads.
unset PYTHONDONTWRITEBYTECODE
run=(.venv/bin/python -m pytest --durations=15)
if [ $# -gt 0 ]; then
    "${root[@]}" "${run[@]}" "$@"
    exit
fi
# More failures than this are no accident.
MAX_AGAIN=4
# Machines for the tests that need an engine: they wait nine tenths of their time, so that what needs none has the cores nearly to itself.
LANES=2
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

# kind NAME: `command` asks all tests of a kind, `alone` is what they are asked with one after the other. Each kind remembers what failed.
kind() {
    local markers place=()
    case $1 in
        plain) markers='not (docker or cluster or compose or net)' ;;
        # Apart: these enter networks of their own, and a thread that gRPC begins meanwhile stays there for all that its process tries later.
        net) markers='net and not (docker or cluster or compose)' ;;
        engine) markers='(docker or cluster) and not compose' place=(scripts/lane.sh) ;;
        compose) markers=compose ;;
    esac
    local asked=("${run[@]}" -o cache_dir=".pytest_cache/$1" -m "$markers")
    # The files in which a marker stands (tests/conftest.py sees to it) are found sooner than by importing all of them.
    case $1 in
        plain) command=("${asked[@]}" --numprocesses=auto --dist=loadfile) ;;
        net)
            mapfile -t files < <(grep -rlE 'mark\.net\b' tests --include='test_*.py' | sort)
            command=("${asked[@]}" --numprocesses=2 --dist=loadfile "${files[@]}")
            ;;
        engine)
            mapfile -t files < <(grep -rlE 'mark\.(docker|cluster)\b' tests --include='test_*.py' | sort)
            command=("${asked[@]}" --tx "$LANES*popen//python=scripts/lane.sh .venv/bin/python" --dist=loadfile "${files[@]}")
            ;;
        compose)
            mapfile -t files < <(grep -rlE 'mark\.compose\b' tests --include='test_*.py' | sort)
            command=("${asked[@]}" "${files[@]}")
            ;;
    esac
    command=("${root[@]}" "${command[@]}" --cache-clear)
    alone=("${root[@]}" "${place[@]}" "${asked[@]}" --last-failed)
}

# judge KIND CODE: how the tests of a kind went. A few that failed are asked once more, alone: what passes then is named as flaky, which is a
# fault of its own and to be mended; it says nothing against what is tested.
judge() {
    local count
    [ "$2" -eq 1 ] || return "$2"
    count=$(.venv/bin/python -c 'import json, sys; print(len(json.load(open(f".pytest_cache/{sys.argv[1]}/v/cache/lastfailed"))))' "$1")
    [ "$count" -le "$MAX_AGAIN" ] || return "$2"
    kind "$1"
    "${alone[@]}" || return 1
    say "FLAKY: $count of the tests failed and passed when they were asked alone; the failures above are to be mended" >&2
}

# begin COMMAND...: it goes on beside others, and ends in order by Ctrl-C as they do: bash would have it ignore that.
begin() {
    (trap - INT && exec "$@") &
    beside+=($!)
}

# aside KIND: its tests go on beside others; what they say is kept.
aside() {
    kind "$1"
    begin "${command[@]}" >"$output/$1" 2>&1
}

failed=0 plain=0 engine=0 net=0 compose=0
# The images of the compose cluster are made meanwhile: that is waiting for a mirror, for the most part. Its tests say what went wrong with them.
begin "${root[@]}" scripts/images.sh >/dev/null 2>&1
aside engine
kind plain
"${command[@]}" || plain=$?
wait "${beside[0]}" || true

aside net
kind compose
"${command[@]}" || compose=$?
wait "${beside[1]}" || engine=$?
wait "${beside[2]}" || net=$?
beside=()
say 'what ran beside these'
cat "$output/engine" "$output/net"
# Now that nothing else runs.
judge plain "$plain" || failed=$?
judge compose "$compose" || failed=$?
judge net "$net" || failed=$?
judge engine "$engine" || failed=$?
exit "$failed"
