#!/usr/bin/env bash
# Builds the last commit twice and compares. Source, cargo home and target are in other folders each time.
#
# usage: tools/reproducible.sh      two whole builds: about 12 minutes on 2 cores
#
# Fails if the two files differ, or if one of them names a folder that it was built in. The crates are those of the cargo
# home in use, so nothing is downloaded twice.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
registry=${CARGO_HOME:-$HOME/.cargo}
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

build() { # name of the build: its folders
  local source=$folder/$1/source home=$folder/$1/cargo-home
  mkdir -p "$source" "$home"
  git archive "$commit" | tar -x -C "$source"
  ln -s "$root/.charts" "$source/.charts"
  ln -s "$registry/registry" "$home/registry"
  CARGO_HOME=$home CARGO_TARGET_DIR=$folder/$1/target "$source/tools/build-operator.sh" --quiet
  mv "$folder/$1/target/release/istio-manager" "$folder/$1/istio-manager"
  rm -rf "$folder/$1/target"
}

cargo fetch --locked --quiet
echo "building commit $commit twice; each takes about 6 minutes on 2 cores"
build first
build second-in-a-folder-with-a-longer-name

first=$folder/first/istio-manager
second=$folder/second-in-a-folder-with-a-longer-name/istio-manager
for file in "$first" "$second"; do
  for path in "$folder" "$root" "$registry/registry" "$(rustc --print sysroot)"; do
    if grep -q --text --fixed-strings "$path" "$file"; then
      echo "the program names the folder '$path' of the machine that built it: add it to the remapped paths of tools/build-operator.sh" >&2
      exit 1
    fi
  done
done
if ! cmp "$first" "$second"; then
  echo "two builds of commit $commit differ" >&2
  exit 1
fi
echo "two builds of commit $commit are the same: sha256 $(sha256sum "$first" | cut -d' ' -f1), $(stat -c %s "$first") bytes"
