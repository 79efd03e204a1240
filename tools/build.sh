#!/usr/bin/env bash
# Builds the Go programs that the test bed and the oracle tests run, once per set of pins.
#
# usage: tools/build.sh [GROUP…]      groups: kubernetes etcd kwok istiod helm istioctl (default: all)
# Results: .tools/bin/*, and a stamp per group in .tools/stamps that holds the hash of its pins.
set -euo pipefail
cd "$(dirname "$0")/.."
out="$PWD/.tools"
mkdir -p "$out/bin" "$out/stamps"

# What a group builds: module folder, packages, and what it is for.
describe() {
  case $1 in
    kubernetes) mod=kubernetes why="the Kubernetes control plane, about 5 minutes on 2 cores the first time"
      pkgs="k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubectl" ;;
    etcd) mod=etcd why="the database of the API server, under a minute" pkgs="go.etcd.io/etcd/server/v3" ;;
    kwok) mod=kwok why="makes nodes and pods ready without containers, about a minute" pkgs="sigs.k8s.io/kwok/cmd/kwok" ;;
    istiod) mod=istio why="the real istiod behind each istiod pod, and a judge of its configuration, about 4 minutes"
      pkgs="istio.io/istio/pilot/cmd/pilot-discovery ./oracle" ;;
    istioctl) mod=istio why="Istio's own command line, for comparisons, about 2 minutes" pkgs="istio.io/istio/istioctl/cmd/istioctl" ;;
    helm) mod=helm why="installs our chart, and judges our renderer, about 4 minutes" pkgs="helm.sh/helm/v4/cmd/helm ./oracle" ;;
    *) echo "tools/build.sh: unknown group '$1'; use: kubernetes etcd kwok istiod helm istioctl" >&2; exit 2 ;;
  esac
}

# The API server reports this version; Istio and Helm look at it.
kubernetes_version=$(grep -o 'k8s.io/kubernetes v[0-9.]*' tools/kubernetes/go.mod | head -1 | cut -d' ' -f2)
minor=${kubernetes_version#v*.}; minor=${minor%%.*}
v=k8s.io/component-base/version
ldflags="-s -w -X $v.gitVersion=$kubernetes_version -X $v.gitMajor=1 -X $v.gitMinor=$minor"

# Turns the package names that `go build -v` prints into one line of progress.
progress() {
  awk -v name="$1" -v total="$2" -v tty="$([ -t 2 ] && echo 1 || echo 0)" '
    /^go: downloading/ { next }
    /^[a-z0-9_.\/-]+$/ || /^[A-Za-z0-9_.~!\/-]+$/ { n++
      if (tty) printf "\r  %s: %d of up to %d packages", name, n, total
      else if (n % 400 == 0) printf "  %s: %d of up to %d packages\n", name, n, total
      fflush(); next }
    { print }
    END { if (tty && n) print "" }' >&2
}

build_group() {
  describe "$1"
  local stamp="$out/stamps/$1" want
  want=$({ cat "tools/$mod/go.mod" "tools/$mod/go.sum"; find "tools/$mod" -name '*.go' -exec cat {} +; echo "$pkgs $ldflags"; } | sha256sum | cut -d' ' -f1)
  local complete=1 p
  for p in $pkgs; do [ -x "$out/bin/$(binary_name "$p")" ] || complete=0; done
  [ "$1" != kwok ] || [ -f "$out/kwok-stages.yaml" ] || complete=0
  if [ "$complete" = 1 ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return 0; fi
  echo "building $1 ($2): $why" >&2
  local started=$SECONDS total
  total=$(cd "tools/$mod" && go list -deps $pkgs 2>/dev/null | wc -l)
  for p in $pkgs; do
    (cd "tools/$mod" && CGO_ENABLED=0 go build -v -trimpath -ldflags "$ldflags" -o "$out/bin/$(binary_name "$p")" "$p") 2>&1 | progress "$(binary_name "$p")" "$total"
  done
  [ "$1" != kwok ] || copy_kwok_stages
  echo "$want" > "$stamp"
  echo "  $1 built in $((SECONDS - started)) s" >&2
}

# What nodes and pods do is told to kwok by files that come with its module.
copy_kwok_stages() {
  local from file
  from=$(cd tools/kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for file in node/fast/node-initialize node/heartbeat/node-heartbeat pod/fast/pod-{complete,delete}; do
    echo "---"
    cat "$from/$file.yaml"
  done > "$out/kwok-stages.yaml"
}

# The main package of etcd is its module root, so its folder name is a version. A package of our own is named after its module.
binary_name() { case $1 in */etcd/server/v3) echo etcd ;; ./oracle) echo "$mod-oracle" ;; *) basename "$1" ;; esac; }

command -v go >/dev/null || { echo "tools/build.sh: Go is needed to build the test bed (https://go.dev/dl/); the operator itself does not need it" >&2; exit 1; }
groups=("$@"); [ $# -gt 0 ] || groups=(kubernetes etcd kwok istiod helm istioctl)
i=0
for g in "${groups[@]}"; do i=$((i + 1)); build_group "$g" "$i of ${#groups[@]}"; done
