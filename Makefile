# The two commands: `make demo` and `make test`. Everything they need is installed on the way.
SHELL := /bin/bash
PYTHON := .venv/bin/python
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
KNARR := $(SUDO) .venv/bin/knarr

.DEFAULT_GOAL := help
.PHONY: help demo demo-autoscale test history soak screenshots up down status images node ha registry install venv proto lint fix bench clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## install what is missing (virtual environment, etcd, Docker engine, nftables)
	@scripts/install.sh

venv:
	@scripts/install.sh --venv

demo: install ## a cluster, an app on it, healing, scaling, round robin: see it work
	@$(SUDO) $(PYTHON) examples/demo.py

demo-autoscale: install ## traffic grows, pods are added; it falls, they go
	@$(SUDO) $(PYTHON) examples/autoscale.py

up: install ## start the cluster in the background
	@$(KNARR) up

down: ## stop the cluster and leave nothing behind
	@if [ -x .venv/bin/knarr ]; then $(KNARR) down; fi
	@scripts/stop-docker.sh

status: ## what runs, and how it is
	@$(KNARR) status

node: ## one more machine for the running compose cluster
	@scripts/node.sh

ha: ## three etcd members and two of each control component for the running compose cluster
	@scripts/ha.sh

registry: ## a registry that the compose cluster's nodes pull through
	@scripts/registry.sh

images: install ## build the images of `docker compose up -d --wait`
	@scripts/images.sh

test: ## all tests, those with etcd, Docker and whole clusters included
	@scripts/test.sh $(ARGS)

history: install ## look for what must not be under faults; `make history SECONDS=60 SEEDS=1-60`
	@$(PYTHON) -m tests.history.run --seconds $(or $(SECONDS),60) $(if $(SEEDS),--seeds $(SEEDS))

soak: install ## a node under waves of pods, and what is left of them; `make soak PODS=200 SECONDS=1200`
	@$(SUDO) $(PYTHON) -m tests.soak.run $(if $(PODS),--pods $(PODS)) $(if $(SECONDS),--seconds $(SECONDS))

screenshots: install ## take the pictures of docs/page.md anew
	@scripts/install.sh --screenshots
	@$(SUDO) $(PYTHON) -m tests.web.shots

lint: venv ## formatting, types, layers, contracts
	@scripts/lint.sh

fix: venv ## repair what `make lint` finds and a machine can mend
	@scripts/fix.sh

proto: venv ## derive the contracts and the generated modules
	@$(PYTHON) -m tools.generate

bench: ## measure; `make bench ONLY=name` runs one
	@scripts/install.sh --bench
	@$(SUDO) env KUBERNETES_BIN="$$KUBERNETES_BIN" $(PYTHON) -m bench $(ONLY)

clean: down ## as `make down`, and forget the cluster's state
	@$(SUDO) rm -rf .knarr
