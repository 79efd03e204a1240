#!/usr/bin/env bash
# Measures the data plane with the release build, and writes docs/benchmarks-dataplane.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --package istio-manager --bin istio-manager
cargo test --quiet --package istio-manager --test bench_dataplane
