#!/usr/bin/env bash
# Finds the Rust toolchain that rust-toolchain.toml pins.
#
# usage: tools/toolchain.sh           prints the name of an installed toolchain to use instead of the pinned name, or nothing
#        tools/toolchain.sh --check   fails unless the Rust in use has the pinned version
#
# rustup knows a toolchain by its name: "stable" is not "1.95.0" even while both are the same release. Where rustup may not
# download anything, an installed toolchain of the same version under another name is used.
set -euo pipefail
cd "$(dirname "$0")/.."

pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
version() { "$@" rustc --version 2>/dev/null | cut -d' ' -f2; }

if [ "${1:-}" = --check ]; then
  used=$(version env || true)
  if [ "$used" = "$pinned" ]; then exit 0; fi
  echo "Rust ${used:-of an unknown version} is in use, but rust-toolchain.toml pins $pinned. Install rustup, or Rust $pinned, and run this again." >&2
  exit 1
fi

# Without rustup, the Rust that is installed is used, whatever its name.
command -v rustup > /dev/null || exit 0
if [ -n "${RUSTUP_TOOLCHAIN:-}" ] || rustup toolchain list | grep -q "^$pinned"; then exit 0; fi
for toolchain in $(rustup toolchain list | cut -d' ' -f1); do
  if [ "$(version rustup run "$toolchain")" = "$pinned" ]; then echo "$toolchain"; exit 0; fi
done
