#!/usr/bin/env bash
# Runs a command in a copy of this tree that has only what Git tracks, without the folder `shared` beside it: as in a fresh
# clone.
#
# usage: tools/without-neighbours.sh COMMAND...
# In a mount namespace of its own, the copy takes the place of the tree, at the same path and with the same times, so that
# nothing is built a second time; what was built or fetched before stays. Needs root, or user namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${TREE_COPY:-}" ]; then
  TREE_COPY=$(mktemp -d)
  export TREE_COPY
  trap 'rm -rf "$TREE_COPY"' EXIT
  git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$TREE_COPY"
  namespaces=(--mount)
  [ "$(id -u)" = 0 ] || namespaces+=(--user --map-root-user)
  unshare "${namespaces[@]}" "$PWD/tools/without-neighbours.sh" "$@"
  exit
fi

for built in target .charts .tools; do
  [ -e "$built" ] || continue
  mkdir "$TREE_COPY/$built"
  mount --bind "$(readlink -f "$built")" "$TREE_COPY/$built"
done
mount --rbind "$TREE_COPY" "$PWD"
# An empty folder in its place: to the tests it is as good as none.
[ ! -d ../shared ] || mount -t tmpfs none ../shared
cd "$PWD"
exec "$@"
