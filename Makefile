# Each target calls the tools themselves, once or a few times. `make` without a target lists the targets.
SHELL := /bin/bash
TOOLS := $(CURDIR)/target/tools
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
export REVISION
# The binaries of the workspace. Each has an image of the same name.
IMAGES := order-service order-operator

.DEFAULT_GOAL := help
.PHONY: help run migrate test test-binaries manifest-tools fuzz bench chaos manifests alerts dashboard charts modules image image-test image-scan registry-login release-check release-push release-sign sbom e2e e2e-figures e2e-nodes kind lint openapi fmt tools build-deps deps clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: build-deps ## Serve on SQLite, or on the database in DATABASE_URL (for PostgreSQL, `make migrate` first)
	cargo run

migrate: build-deps ## Apply pending migrations to the database in DATABASE_URL
	cargo run -- migrate

test: deps tools ## Run all tests on SQLite and a throw-away PostgreSQL; check API clients, manifests and alerts
	@# Compiling uses the processors and installing uses the network, so they run in parallel.
	$(MAKE) --no-print-directory --jobs=2 test-binaries manifest-tools
	scripts/postgres.sh with cargo test --workspace
	scripts/browser.sh $(TOOLS)
	scripts/postgres.sh with scripts/schemathesis.sh $(TOOLS)
	TOOLS=$(TOOLS) tests/openapi/run.sh
	TOOLS=$(TOOLS) tests/access/run.sh
	@# `alerts` mostly waits for samples, so these two suites run in parallel as well.
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target manifests alerts

test-binaries: deps
	cargo test --workspace --no-run

manifest-tools: deps
	scripts/manifest-tools.sh $(TOOLS)

SECONDS := 20
fuzz: ## Fuzz each target of fuzz/ for SECONDS (20)
	scripts/deps.sh fuzz
	scripts/tools.sh $(TOOLS) fuzz
	scripts/fuzz.sh $(TOOLS) $(SECONDS) $(TARGETS)

bench: ## Compare the service with Axum + sqlx and pgbench (45 minutes); writes bench/results.md and bench/tail.md
	scripts/deps.sh bench
	cargo build --release
	cargo build --release --manifest-path bench/Cargo.toml --target-dir target/bench
	cargo bench --bench record
	bench/run.py $(BENCH)
	bench/report.py

chaos: deps tools ## Run the experiments with faults in full length and `fuzz` (30 minutes); writes docs/RELIABILITY.md
	rm -rf target/chaos/full target/fuzz/results
	@# A failed experiment is part of the document, and its exit code is that of the script.
	-CHAOS=full scripts/postgres.sh with cargo test --quiet --test chaos -- --include-ignored --test-threads=1 --nocapture
	-$(MAKE) --no-print-directory fuzz
	scripts/reliability.py target/chaos/full target/fuzz/results .

manifests: deps ## Render the manifests; check them, the alerts, the dashboard and the documents
	TOOLS=$(TOOLS) tests/manifests/run.sh

alerts: deps ## Run every query of alerts and dashboard on a Prometheus that scrapes the service under load
	TOOLS=$(TOOLS) tests/monitoring/run.sh test

dashboard: deps ## Redraw docs/dashboard.svg from a Prometheus that scrapes the service under load
	TOOLS=$(TOOLS) tests/monitoring/run.sh picture docs/dashboard.svg

charts: manifest-tools ## Generate the Helm charts from the kustomize manifests
	$(TOOLS)/manifests/bin/python -B scripts/helm-chart.py

modules: ## Redraw docs/modules.svg from the imports in src/
	scripts/draw-modules.py docs/modules.svg

image: ## Build the images with podman, buildah or docker (BUILDER=… selects another builder image)
	scripts/image.sh $(IMAGES)

image-test: ## Test the images with podman: hardening, TLS, DNS, size, reproducibility (slow; needs root)
	tests/image/run.sh

image-scan: ## Fail if an image has a known and corrected vulnerability (needs podman and trivy)
	scripts/release.sh scan $(IMAGES)

registry-login: ## Log in to IMAGE_REGISTRY as REGISTRY_USER with REGISTRY_PASSWORD
	scripts/registry-login.sh

release-check: ## Check that the tag of this commit, the charts and the changelog have the version of Cargo.toml
	scripts/release.sh check $(IMAGES)

release-push: ## Push images and charts to IMAGE_REGISTRY (needs podman and helm)
	scripts/release.sh push $(IMAGES)

release-sign: ## Sign what release-push pushed, and attach the SBOMs (needs cosign)
	scripts/release.sh sign $(IMAGES)

sbom: build-deps ## Write a CycloneDX document for each binary to target/sbom
	scripts/sbom.sh $(TOOLS) $(IMAGES)

e2e: deps ## Test the operator on the cluster in KUBECONFIG (skipped without it)
	TOOLS=$(TOOLS) scripts/e2e.sh

e2e-figures: deps ## Measure the operator's memory, time and writes on the API server in KUBECONFIG
	TOOLS=$(TOOLS) scripts/e2e.sh figures

e2e-nodes: deps ## Test manifests and operator under load on the nodes of the cluster in KUBECONFIG (skipped without it)
	TOOLS=$(TOOLS) scripts/e2e-nodes.sh

kind: ## Create a kind cluster for `make e2e`, with KUBECONFIG=target/kind/kubeconfig
	scripts/kind.sh $(IMAGES)

lint: deps ## Check formatting, clippy, dependencies, migrations and shell scripts; warnings are errors
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path bench/Cargo.toml
	cargo fmt --check --manifest-path tests/openapi/rust/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path bench/Cargo.toml --target-dir target/bench --all-targets -- -D warnings
	RUSTFLAGS='--cfg fuzzing' cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
	scripts/tools.sh $(TOOLS) lint
	scripts/deny.sh $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-machete
	scripts/lint-migrations.sh $(TOOLS)
	shellcheck -x scripts/*.sh tests/*/run.sh tests/image/builder.sh .ci/run

openapi: build-deps ## Regenerate openapi.json from the code
	OPENAPI=write cargo test --quiet --lib openapi

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --all --manifest-path bench/Cargo.toml
	cargo fmt --manifest-path tests/openapi/rust/Cargo.toml
	cargo fmt --manifest-path fuzz/Cargo.toml

tools: deps ## Compile the diesel command, which the tests need, into target/tools
	scripts/tools.sh $(TOOLS) test

build-deps: ## Install Debian's packages that a build needs
	@scripts/deps.sh build

deps: ## Install Debian's packages that the tests and lints need
	@scripts/deps.sh test

clean: ## Remove what cargo built for order-service (dependencies and tools stay)
	cargo clean -p order-service
