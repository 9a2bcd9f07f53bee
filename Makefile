# Each target is a line or two over the real tool. `make` alone lists them.
SHELL := /bin/bash
TOOLS := $(CURDIR)/target/tools
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
export REVISION
# The binaries of the workspace; each has an image of its name.
IMAGES := order-service order-operator

.DEFAULT_GOAL := help
.PHONY: help run migrate test bench manifests alerts dashboard image image-test sbom e2e e2e-figures kind lint openapi fmt tools build-deps deps clean

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
	TOOLS=$(TOOLS) tests/openapi/run.sh
	$(MAKE) --no-print-directory manifests alerts

bench: deps ## Measure the service beside Axum + sqlx and pgbench (20 minutes); writes bench/results.md
	cargo build --release
	cargo build --release --manifest-path bench/Cargo.toml --target-dir target/bench
	cargo bench --bench record
	bench/run.py $(BENCH)
	bench/report.py

manifests: deps ## Render the manifests and check them, the alerts and the dashboard
	TOOLS=$(TOOLS) tests/manifests/run.sh

alerts: deps ## Ask every query of alerts and dashboard of a Prometheus that scrapes the service under load
	TOOLS=$(TOOLS) tests/monitoring/run.sh test

dashboard: deps ## Draw docs/dashboard.svg anew from such a Prometheus
	TOOLS=$(TOOLS) tests/monitoring/run.sh picture docs/dashboard.svg

image: ## Build the images with podman, buildah or docker (BUILDER=… for another base)
	scripts/image.sh $(IMAGES)

image-test: ## Prove the image with podman: hardened, TLS, names, size, reproducible (slow; needs root)
	tests/image/run.sh

sbom: build-deps ## Write a CycloneDX document for each binary into target/sbom
	scripts/sbom.sh $(TOOLS) $(IMAGES)

e2e: deps ## Run the operator against the cluster that KUBECONFIG names (skipped without)
	TOOLS=$(TOOLS) scripts/e2e.sh

e2e-figures: deps ## Measure the operator's memory, time and writes against an API server alone
	TOOLS=$(TOOLS) scripts/e2e.sh figures

kind: ## Make a kind cluster for e2e: KUBECONFIG=target/kind/kubeconfig
	scripts/kind.sh $(IMAGES)

lint: deps tools ## Formatting, clippy, dependencies, migrations, shell scripts; warnings are errors
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path bench/Cargo.toml
	cargo fmt --check --manifest-path tests/openapi/rust/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path bench/Cargo.toml --target-dir target/bench --all-targets -- -D warnings
	scripts/deny.sh $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-machete
	scripts/lint-migrations.sh $(TOOLS)
	shellcheck -x scripts/*.sh tests/*/run.sh tests/image/builder.sh .ci/run

openapi: build-deps ## Write openapi.json anew from the code
	cargo run --quiet -- openapi > openapi.json

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --all --manifest-path bench/Cargo.toml
	cargo fmt --manifest-path tests/openapi/rust/Cargo.toml

tools: deps ## Install the tools that lint and test need into target/tools
	scripts/tools.sh $(TOOLS) test

build-deps: ## Install what building needs from Debian's packages
	@scripts/deps.sh build

deps: ## Install what testing needs from Debian's packages
	@scripts/deps.sh test

clean: ## Remove what was built (the tools stay)
	cargo clean -p order-service
