#!/usr/bin/env bash
# Exports Istio's charts and installation profiles to .charts/VERSION, where the build of istio-charts finds them.
#
# usage: tools/export-charts.sh
# They come from the Go module istio.io/istio at the pin of tools/istio/go.mod, checked against its go.sum, or, with
# ISTIO_CHARTS_DIR set, from the manifests folder of an unpacked Istio release. VERSION is in tools/istio/VERSION.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "tools/export-charts.sh: $*" >&2; exit 1; }

version=$(cat tools/istio/VERSION)
target=".charts/$version"

# Where the charts come from, and one line that changes when that source does.
if [ -n "${ISTIO_CHARTS_DIR:-}" ]; then
  manifests=$ISTIO_CHARTS_DIR
  source="directory $(cd "$manifests" 2>/dev/null && pwd || fail "ISTIO_CHARTS_DIR: no folder '$manifests'")"
else
  module=$(awk '$1 == "istio.io/istio" { print $1 "@" $2 }' tools/istio/go.mod)
  source="module $module"
  # An export of the same pin needs neither Go nor network.
  [ "$(cat "$target/source" 2>/dev/null)" != "$source" ] || exit 0
  command -v go >/dev/null || fail "Go is needed to download $module (https://go.dev/dl/); or unpack a release of Istio $version and set ISTIO_CHARTS_DIR to its manifests folder"
  # -json prints the folder; the checksum is verified against tools/istio/go.sum.
  manifests=$(cd tools/istio && go mod download -json istio.io/istio | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p')/manifests
fi

for part in charts profiles; do
  [ -d "$manifests/$part" ] || fail "no folder '$part' in '$manifests': expected the manifests folder of Istio $version"
done
# Charts of a release carry its version; those of the source tree carry the placeholder 1.0.0.
found=$(awk '$1 == "version:" { print $2; exit }' "$manifests/charts/base/Chart.yaml")
[ "$found" = "$version" ] || [ "$found" = 1.0.0 ] || fail "'$manifests' holds Istio $found, but tools/istio/VERSION asks for $version"

# Built aside and renamed, so that an interrupted export is never taken for a whole one.
mkdir -p .charts
staging=$(mktemp -d .charts/export.XXXXXX)
trap 'rm -rf "$staging"' EXIT
cp -r "$manifests/charts" "$manifests/profiles" "$staging"
chmod -R u+w,a+rX "$staging"
echo "$source" > "$staging/source"
rm -rf "$target"
mv "$staging" "$target"
echo "exported Istio's charts $version to $target (from $source)" >&2
