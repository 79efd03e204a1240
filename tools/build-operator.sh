#!/usr/bin/env bash
# Builds the operator as one static file, target/release/istio-manager, that names no folder of this machine.
#
# usage: tools/build-operator.sh [ARGUMENT OF cargo build...]      for example: --features fips
#
# The same commit, toolchain, C compiler and C library give the same bytes, in whatever folders source, cargo home and target
# are (`make reproducible`). SOURCE_DATE_EPOCH is the time of the last commit unless it is set.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
source=$PWD
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
registry=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0); fi
export SOURCE_DATE_EPOCH

# Of several that match a path, the last one counts: the target folder may lie in the source folder.
flags=(
  -C target-feature=+crt-static
  --remap-path-prefix="$sysroot=/rust"
  # What the standard library is called where its source is not installed.
  --remap-path-prefix="$sysroot/lib/rustlib/src/rust=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')"
  --remap-path-prefix="$registry=/cargo"
  --remap-path-prefix="$source=/source"
  --remap-path-prefix="$target=/target"
)
# Packed relocations save a twelfth of the file; a static program can only read them with glibc 2.36 or newer in it.
if printf '%s\n' 2.36 "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)" | sort -CV; then
  flags+=(-C link-arg=-Wl,-z,pack-relative-relocs)
fi
# Unlike RUSTFLAGS, this takes paths with blanks.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

# With a named target the flags reach the operator only, and not the compiler's own plug-ins, which cannot be static.
cargo build --release --locked --package istio-manager --bin istio-manager --target "$host" "$@"
mkdir -p "$target/release"
cp "$target/$host/release/istio-manager" "$target/release/istio-manager"
