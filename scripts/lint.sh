#!/usr/bin/env bash
# Formatting, types, layers and contracts: what a machine can check.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=.
.venv/bin/ruff check --no-cache .
.venv/bin/ruff format --no-cache --check .
.venv/bin/mypy
.venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports
.venv/bin/buf lint proto
.venv/bin/buf breaking proto --against tools/schema/contracts.binpb.gz
.venv/bin/python -m tools.generate --check
