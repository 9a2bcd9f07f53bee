# Each target is a line or two over the real tool. `make` alone lists them.
SHELL := /bin/bash
TOOLS := $(CURDIR)/target/tools
REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
export REVISION

.DEFAULT_GOAL := help
.PHONY: help run migrate test manifests e2e e2e-figures lint openapi fmt tools build-deps deps clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: build-deps ## Serve on SQLite, or on what DATABASE_URL names (`make migrate` first for PostgreSQL)
	cargo run

migrate: build-deps ## Apply pending migrations to what DATABASE_URL names
	cargo run -- migrate

test: deps tools ## All tests, on SQLite and on a throw-away PostgreSQL; manifests and alerts
	scripts/postgres.sh with cargo test --workspace
	scripts/browser.sh $(TOOLS)
	scripts/postgres.sh with scripts/schemathesis.sh $(TOOLS)
	$(MAKE) --no-print-directory manifests

manifests: deps ## Render the manifests and check them, the alerts and the dashboard
	TOOLS=$(TOOLS) tests/manifests/run.sh

e2e: deps ## Run the operator against the cluster that KUBECONFIG names (skipped without)
	TOOLS=$(TOOLS) scripts/e2e.sh

e2e-figures: deps ## Measure the operator's memory, time and writes against an API server alone
	TOOLS=$(TOOLS) scripts/e2e.sh figures

lint: deps tools ## Formatting, clippy, dependencies, shell scripts; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/deny.sh $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-machete
	shellcheck scripts/*.sh tests/manifests/run.sh .ci/run

openapi: build-deps ## Write openapi.json anew from the code
	cargo run --quiet -- openapi > openapi.json

fmt: ## Format the code
	cargo fmt --all

tools: deps ## Install the tools that lint and test need into target/tools
	scripts/tools.sh $(TOOLS)

build-deps: ## Install what building needs from Debian's packages
	@scripts/deps.sh build

deps: ## Install what testing needs from Debian's packages
	@scripts/deps.sh test

clean: ## Remove what was built (the tools stay)
	cargo clean -p order-service
