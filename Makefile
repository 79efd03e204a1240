# istio-manager. `make` without a target explains the targets.
.DEFAULT_GOAL := help
# Go and Rust builds are never started side by side: each takes all cores and much memory.
.NOTPARALLEL:
SHELL := bash

DENY_VERSION := 0.20.2
DENY := .tools/cargo/bin/cargo-deny
CYCLONEDX_VERSION := 0.5.9
CYCLONEDX := .tools/cargo/bin/cargo-cyclonedx
SBOM_TOOLS := .tools/sbom
RELEASE := target/release/istio-manager

# Empty where the pinned toolchain is found by its name.
TOOLCHAIN := $(shell tools/toolchain.sh)
ifneq ($(TOOLCHAIN),)
export RUSTUP_TOOLCHAIN := $(TOOLCHAIN)
endif

.PHONY: check-fuzz help demo test test-full test-unit run build lint generate check-generated charts tools bench bench-dataplane bench-large image clean
.PHONY: advisories sbom reproducible fips release-check release-image

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

# `hostile` is the name of a test of two crates. Without the test bed some dependencies have fewer features: after `make test`,
# an empty UNIT_EXCLUDE saves a second compilation.
UNIT_EXCLUDE ?= --exclude testbed
test-unit: charts ## The tests that need nothing but the charts: no control plane, and none of the tools built for one
	cargo test --workspace $(UNIT_EXCLUDE) --lib --bins --test command_line --test odd_input --test overrides --test parity --test images \
	  --test api --test wording --test matrix --test permissions --test renderings --test hostile --test language --test yaml --test bundle --test install

run: charts ## Run the operator against the current context of your kubeconfig
	cargo run -- run --zap-log-level=info

build: charts ## Build target/release/istio-manager, one static file
	@echo "building the operator; the first time takes about 6 minutes on 2 cores"
	@tools/build-operator.sh
	@ls -l $(RELEASE) | awk '{ printf "$(RELEASE): %.1f MB\n", $$5 / 1e6 }'

lint: charts $(DENY) ## Formatting, clippy with all its pedantry, and dependencies
	@tools/toolchain.sh --check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@# Alone, the operator is built with fewer features of its dependencies than with the tests.
	cargo check --quiet --package istio-manager --bin istio-manager
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --lib
	$(DENY) check bans licenses sources
	@echo "advisories are not checked here, because no package registry carries the RustSec database: run 'make advisories'"
	bash -n tools/*.sh .ci/run

check-fuzz: charts ## Compile the fuzz targets, whose bodies `make test` runs with a seed (5 minutes the first time)
	cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz

$(DENY):
	@echo "building cargo-deny $(DENY_VERSION) once, about 3 minutes on 2 cores"
	cargo install --quiet --locked cargo-deny --version $(DENY_VERSION) --root .tools/cargo

$(CYCLONEDX):
	@echo "building cargo-cyclonedx $(CYCLONEDX_VERSION) once, about 2 minutes on 2 cores"
	cargo install --quiet --locked cargo-cyclonedx --version $(CYCLONEDX_VERSION) --root .tools/cargo

# Its python is a link to the one of the system, whose time says nothing.
$(SBOM_TOOLS)/installed: tools/sbom-requirements.txt
	python3 -m venv --clear $(SBOM_TOOLS)
	$(SBOM_TOOLS)/bin/python -m pip install --quiet --requirement tools/sbom-requirements.txt
	@touch $@

generate: charts ## Write what is generated: the CRD, the list of Istio's objects, and the chart's copies of roles and policies
	UPDATE=1 cargo test --quiet --workspace --lib the_committed_crd
	UPDATE=1 cargo test --quiet --workspace --test permissions the_list_of_istios_own_objects
	cp crds/istios.operator.kyma-project.io.yaml charts/istio-manager/files/crd.yaml
	cp config/rbac/*-role.yaml config/rbac/role.yaml config/rbac/aggregated-view.yaml config/rbac/*-polic*.yaml \
	  config/components/experimental/experimental-role.yaml config/components/edit/aggregated-edit.yaml charts/istio-manager/files/

check-generated: generate ## Fail if something generated was changed by hand
	@git diff --exit-code -- crds charts/istio-manager/files src/inventory/istio_objects.txt || { echo "run 'make generate' and commit the result" >&2; exit 1; }

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
	docker build --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) --tag istio-manager:0.1.0 .

# With ADVISORY_DB=<folder>, a clone of the database, nothing is downloaded.
advisories: $(DENY) ## Check every dependency against the RustSec database; needs access to it, or ADVISORY_DB=<clone>
	@tools/advisories.sh $(DENY)

sbom: charts $(CYCLONEDX) $(SBOM_TOOLS)/installed ## Write target/sbom/istio-manager.cdx.json, a CycloneDX bill of materials of the last commit
	@tools/sbom.sh $(CYCLONEDX) $(SBOM_TOOLS)/bin/python $(FEATURES)

reproducible: charts ## Build the last commit twice, in different folders, and compare (about 12 minutes on 2 cores)
	@tools/reproducible.sh

fips: charts ## Build target/fips/release/istio-manager with a FIPS module for its TLS; needs Go and CMake
	@echo "building the operator with the FIPS module; the first time takes about 8 minutes on 2 cores"
	@CARGO_TARGET_DIR=target/fips tools/build-operator.sh --features fips
	@ls -l target/fips/release/istio-manager | awk '{ printf "target/fips/release/istio-manager: %.1f MB\n", $$5 / 1e6 }'

release-check: lint check-generated advisories sbom fips reproducible ## Everything that must hold before a release, but the tests

# Tags of base images can be moved, digests cannot.
release-image: ## Build the image from GO_IMAGE and RUST_IMAGE, which must be given with their digests
	@tools/require-digest.sh GO_IMAGE "$(GO_IMAGE)"
	@tools/require-digest.sh RUST_IMAGE "$(RUST_IMAGE)"
	docker build --build-arg GO_IMAGE="$(GO_IMAGE)" --build-arg RUST_IMAGE="$(RUST_IMAGE)" \
	  --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) --tag "$(or $(IMAGE),istio-manager:0.1.0)" .

clean: ## Remove what was built, but not the tools
	cargo clean

.PHONY: requirements
requirements:
	@for program in go cargo ip mount unshare nsenter; do command -v $$program >/dev/null || { \
	  echo "'$$program' is needed for a control plane on this machine: install Go, Rust, iproute2 and util-linux" >&2; exit 1; }; done
