# istio-manager. `make` without a target explains the targets.
.DEFAULT_GOAL := help
# Go and Rust builds are never started side by side: each takes all cores and much memory.
.NOTPARALLEL:
SHELL := bash

DENY_VERSION := 0.20.2
DENY := .tools/cargo/bin/cargo-deny
RELEASE := target/release/istio-manager
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')

.PHONY: help demo test test-full test-unit run build lint generate check-generated charts tools bench bench-dataplane bench-large image clean

help: ## Explain the targets
	@echo "istio-manager: installs Istio from one Istio resource. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

demo: requirements tools build ## Install Istio on a control plane on this machine, and remove it (KEEP=1 leaves it running)
	@cargo build --quiet --package testbed --bin testbed
	@tools/demo.sh

# With ISTIO_BUNDLES=<folder> the tests of upgrades start from real charts, <folder>/1.30.3/{charts,profiles} (the folder
# `manifests` of an Istio release), instead of ones derived from the embedded charts. Those charts are compared with the
# embedded ones by `cargo test --lib definitions_of_real_older_versions -- --ignored`.
test: requirements tools charts ## Every test, those on a real control plane included
	cargo test --workspace --no-fail-fast

test-full: requirements tools charts ## Every test, with all products instead of pairs where tests compare with Helm (an hour)
	JUDGE_FULL=1 cargo test --workspace --no-fail-fast
	cargo test --workspace --test accepted -- --ignored

# `hostile` is the name of a test of two crates.
test-unit: charts ## The tests that need nothing but the charts: no control plane, and none of the tools built for one
	cargo test --workspace --exclude testbed --lib --bins --test command_line --test odd_input --test overrides --test parity --test images \
	  --test matrix --test permissions --test renderings --test hostile --test language --test yaml --test bundle --test install

run: charts ## Run the operator against the current context of your kubeconfig
	cargo run -- run --zap-log-level=info

# Packed relocations save a twelfth of the file; a static program can only read them with glibc 2.36 or newer in it.
PACKED := $(shell printf '%s\n' 2.36 "$$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)" | sort -CV && echo '-C link-arg=-Wl,-z,pack-relative-relocs')

# With a named target the flag reaches the operator only, and not the compiler's own plug-ins, which cannot be static.
build: charts ## Build target/release/istio-manager, one static file
	@echo "building the operator; the first time takes about 6 minutes on 2 cores"
	RUSTFLAGS="-C target-feature=+crt-static $(PACKED)" cargo build --release --locked --package istio-manager --bin istio-manager --target $(HOST)
	@mkdir -p $(dir $(RELEASE)) && cp target/$(HOST)/release/istio-manager $(RELEASE)
	@ls -l $(RELEASE) | awk '{ printf "$(RELEASE): %.1f MB\n", $$5 / 1e6 }'

lint: charts $(DENY) ## Formatting, clippy with all its pedantry, and dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --lib
	$(DENY) check bans licenses sources
	bash -n tools/*.sh .ci/run

$(DENY):
	@echo "building cargo-deny $(DENY_VERSION) once, about 3 minutes on 2 cores"
	cargo install --quiet --locked cargo-deny --version $(DENY_VERSION) --root .tools/cargo

generate: charts ## Write anew what is generated: the CRD, and the chart's copies of it and of the roles
	UPDATE=1 cargo test --quiet --workspace --lib the_committed_definition
	cp crds/istios.operator.kyma-project.io.yaml charts/istio-manager/files/crd.yaml
	cp config/rbac/role.yaml config/rbac/operator-role.yaml config/rbac/aggregated.yaml config/rbac/dry-run-policy.yaml charts/istio-manager/files/

check-generated: generate ## Fail if something generated was changed by hand
	@git diff --exit-code -- crds charts/istio-manager/files || { echo "run 'make generate' and commit the result" >&2; exit 1; }

charts: ## Export Istio's charts, which the build embeds
	@tools/export-charts.sh

tools: ## Build the programs of the test bed once: Kubernetes, etcd, kwok, istiod, helm, istioctl (about 15 minutes)
	@tools/build.sh

bench: requirements tools build ## Measure, and write docs/benchmarks.md
	@cargo test --quiet --workspace --test bench

bench-dataplane: requirements tools build ## Measure restarts of 300 Deployments, and write docs/benchmarks-dataplane.md
	@cargo test --quiet --workspace --test bench_dataplane

bench-large: requirements tools build ## Measure a mesh of up to 50 000 pods, and write docs/benchmarks-large.md (ten minutes)
	@cargo test --quiet --workspace --test bench_large

image: ## Build the container image; needs a container engine
	docker build -t istio-manager:0.1.0 .

clean: ## Remove what was built, but not the tools
	cargo clean

.PHONY: requirements
requirements:
	@for program in go cargo ip mount unshare nsenter; do command -v $$program >/dev/null || { \
	  echo "'$$program' is needed for a control plane on this machine: install Go, Rust, iproute2 and util-linux" >&2; exit 1; }; done
