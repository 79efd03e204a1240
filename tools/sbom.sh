#!/usr/bin/env bash
# Writes the software bill of materials of the last commit: CycloneDX 1.5 as JSON, to target/sbom/istio-manager.cdx.json.
#
# usage: tools/sbom.sh CARGO-CYCLONEDX PYTHON [FEATURES]
#
# CARGO-CYCLONEDX is that program, PYTHON one with the validator of CycloneDX; both come from `make sbom`. FEATURES are
# the operator's cargo features, such as fips.
set -euo pipefail
cd "$(dirname "$0")/.."

cyclonedx=$(realpath "$1")
python=$2
features=${3:-}
host=$(rustc -vV | sed -n 's/^host: //p')
# The same commit gives the same file: no time of today, and no random serial number.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

# cargo-cyclonedx writes a file beside each manifest of the workspace, so it gets a copy.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git archive HEAD | tar -x -C "$folder"
selection=(--target "$host" ${features:+--features "$features"})
(cd "$folder" && "$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 "${selection[@]}")

# Lines such as `serde v1.0.228` or `gotemplate v0.1.0 (/path)`.
crates() { # kinds of dependencies
  (cd "$folder" && cargo tree --quiet --locked --package istio-manager --edges "$1" "${selection[@]}" \
    --prefix none --no-dedupe --format '{p}')
}
# What the linker gets, and what takes part in the build besides.
crates normal > "$folder/linked"
crates normal,build > "$folder/used"

mkdir -p target/sbom
"$python" tools/sbom.py --generated "$folder/istio-manager.cdx.json" --workspace "$folder" --linked "$folder/linked" --used "$folder/used" \
  --charts ".charts/$(cat tools/istio/VERSION)" --toolchain "$(rustc --version | cut -d' ' -f2)" \
  --libc "$(getconf GNU_LIBC_VERSION)" > "$folder/complete.json"
mv "$folder/complete.json" target/sbom/istio-manager.cdx.json
echo "target/sbom/istio-manager.cdx.json: $(sort -u "$folder/linked" | wc -l) crates are linked, and all of them are in it"
