#!/usr/bin/env bash
# Formatting, types, layers and contracts: what a machine can check. All checks run; each that fails says how it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=.
failed=0

# check WHAT REPAIR COMMAND...
check() {
    "${@:3}" && return
    printf '\033[1m==>\033[0m %s: %s\n' "$1" "$2" >&2
    failed=1
}

layers() { .venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports; }

# The longest of them runs beside the others; what it says comes last.
said=$(mktemp)
trap 'rm -f "$said"' EXIT
.venv/bin/mypy >"$said" 2>&1 &
typing=$!
types() { local code=0; wait "$typing" || code=$?; cat "$said"; return "$code"; }

check 'style' '`make fix` mends most of it; the rest is named above, by rule (`.venv/bin/ruff rule CODE` explains one)' .venv/bin/ruff check --no-cache .
check 'formatting' '`make fix`' .venv/bin/ruff format --no-cache --check .
check 'layers' 'by hand: .importlinter says who may import whom, docs/architecture.md why; move what both need one layer down' layers
check 'contracts' 'by hand: the lines above say where (`.venv/bin/buf lint --help`)' .venv/bin/buf lint proto
check 'compatibility of the contracts' 'by hand: give what changed a new number and leave the old one; docs/versions.md says when it may go' \
    .venv/bin/buf breaking proto --against tools/schema/contracts.binpb.gz
check 'form of the contracts' '`make fix`' .venv/bin/buf format proto --diff --exit-code
check 'generated code' '`make fix`, then commit proto/ and knarr/api/ together' .venv/bin/python -m tools.generate --check
check 'the page' '`cd services/web/front && npm ci && npm run build`, then commit services/web/bundle with the sources' .venv/bin/python -m tools.page --check
check 'types' 'by hand: the lines above say where' types
exit "$failed"
