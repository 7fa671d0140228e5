#!/usr/bin/env bash
# Repairs what scripts/lint.sh finds and a machine can mend: style, formatting, the contracts' form, generated code.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=.
.venv/bin/buf format --write proto
.venv/bin/python -m tools.generate
.venv/bin/python -m tools.fields
.venv/bin/python -m tools.pods
.venv/bin/ruff check --no-cache --fix --quiet . || true
.venv/bin/ruff format --no-cache --quiet .
git status --short
echo 'run `make lint` for what is left'
