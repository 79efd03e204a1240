#!/usr/bin/env bash
# Checks every crate of Cargo.lock against the RustSec advisory database, and whether it was yanked.
#
# usage: tools/advisories.sh CARGO-DENY
#
# The database is a Git repository that no package registry carries, so that this needs a network, or a clone of it in the
# folder ADVISORY_DB. A clone is used as it is: update it first.
set -euo pipefail
cd "$(dirname "$0")/.."

database=https://github.com/RustSec/advisory-db
if [ -n "${ADVISORY_DB:-}" ]; then
  [ -d "$ADVISORY_DB" ] || { echo "ADVISORY_DB is not usable: there is no folder '$ADVISORY_DB'. Clone $database into it." >&2; exit 1; }
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$(realpath "$ADVISORY_DB").insteadOf" GIT_CONFIG_VALUE_0=$database
fi
exec "$1" check advisories
