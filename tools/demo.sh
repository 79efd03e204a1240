#!/usr/bin/env bash
# From nothing to a running Istio, and away again, on a control plane of its own. Called by `make demo`.
#
# usage: tools/demo.sh            starts the control plane, shows the demo, tidies up, also on Ctrl-C and on failure
#        KEEP=1 tools/demo.sh     leaves it running and prints how to get a shell in it
set -euo pipefail
cd "$(dirname "$0")/.."
testbed=target/debug/testbed

if [ "${1:-}" != steps ]; then
  if [ -z "${KEEP:-}" ]; then exec "$testbed" up -- "$0" steps; fi
  log=.tools/demo.log
  : > "$log"
  setsid "$testbed" up -- "$0" steps < /dev/null > "$log" 2>&1 &
  bed=$!
  tail -n +1 -f --pid="$bed" "$log" & shown=$!
  trap 'kill "$shown" 2>/dev/null || true' EXIT
  until grep -q '^kept$' "$log"; do
    kill -0 "$bed" 2>/dev/null || { wait "$bed"; exit 1; }
    sleep 0.2
  done
  kill "$shown"; wait "$shown" 2>/dev/null || true
  echo
  echo "It keeps running. A shell with kubectl in it:   $testbed shell"
  echo "The end of it:                                  $testbed down"
  exit 0
fi

started=$(date +%s%N)
step() { printf '\n\033[1m%5s s  %s\033[0m\n' "$(elapsed)" "$*"; }
elapsed() { local ms=$(( ($(date +%s%N) - started) / 1000000 )); printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100)); }
quiet() { local out; out=$("$@" 2>&1) || { echo "$out" >&2; echo "failed: $*" >&2; exit 1; }; }
operator_log="$TESTBED_DIR/operator.log"
operator=
tidy() {
  local code=$?
  [ -z "$operator" ] || kill "$operator" 2>/dev/null || true
  if [ "$code" != 0 ] && [ -f "$operator_log" ]; then echo "--- the operator's last words:" >&2; tail -15 "$operator_log" >&2; fi
}
trap tidy EXIT
export HOME="$TESTBED_DIR"

step "A Kubernetes control plane: $(kubectl version -o json | sed -n 's/.*"gitVersion": "\(.*\)",/\1/p' | tail -1), $(kubectl get nodes --no-headers | wc -l) nodes"

step "helm install charts/istio-manager: the CRD of the Istio resource, the operator's ServiceAccount and its permissions"
quiet helm install istio-manager charts/istio-manager -n kyma-system --create-namespace --set replicaCount=0

step "The operator starts with this ServiceAccount and only these permissions"
token=$(kubectl create token istio-controller-manager -n kyma-system --duration=24h)
cp "$KUBECONFIG" "$TESTBED_DIR/operator.kubeconfig"
quiet kubectl --kubeconfig "$TESTBED_DIR/operator.kubeconfig" config set-credentials operator --token="$token"
quiet kubectl --kubeconfig "$TESTBED_DIR/operator.kubeconfig" config set-context --current --user=operator
env -u KUBECONFIG target/release/istio-manager run --kubeconfig "$TESTBED_DIR/operator.kubeconfig" --leader-elect > "$operator_log" 2>&1 &
operator=$!

step "kubectl apply -f config/samples/istio.yaml"
quiet kubectl apply -f config/samples/istio.yaml
applied=$(date +%s%N)
last=
while IFS='|' read -r state description; do
  kill -0 "$operator" 2>/dev/null || { echo "the operator ended" >&2; exit 1; }
  state=${state// /}
  [ "$state|$description" != "$last" ] || continue
  last="$state|$description"
  [ -z "$state" ] || printf '%5s s    %-10s %s\n' "$(elapsed)" "$state" "$description"
  [ "$state" != Ready ] || break
done < <(timeout 300 kubectl get istio default -n kyma-system --watch -o 'jsonpath={.status.state}|{.status.description}{"\n"}')
[ "$state" = Ready ] || { echo "Istio did not become Ready" >&2; exit 1; }
printf '         Ready after %d ms\n' $(( ($(date +%s%N) - applied) / 1000000 ))

step "What runs in istio-system; behind each istiod pod is a real istiod"
kubectl get deployments,daemonsets,pods -n istio-system
printf '\n'
pgrep -a -f pilot-discovery | sed 's/^\([0-9]*\) [^ ]*\/\([^ ]*\) .*--httpsAddr[ =]\([^ ]*\).*/process \1: \2 at \3/' | cut -c1-120

step "A workload in a namespace with the label istio-injection=enabled"
quiet kubectl create namespace shop
quiet kubectl label namespace shop istio-injection=enabled
quiet kubectl create deployment cart -n shop --image=example.com/cart:1 --replicas=2
quiet kubectl rollout status deployment/cart -n shop --timeout=60s
kubectl get pods -n shop -o 'custom-columns=POD:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,CONTAINERS:.spec.containers[*].name,SIDECAR (istio-proxy):.spec.containers[?(@.name=="istio-proxy")].image'
kubectl get pods -n shop -o json | grep -q '"name": "istio-proxy"' || { echo "the pods have no istio-proxy" >&2; exit 1; }

if [ -n "${KEEP:-}" ]; then echo kept; trap - EXIT; wait "$operator"; fi

step "kubectl delete istio default -n kyma-system: Istio is uninstalled, sidecars before istiod"
quiet kubectl delete deployment cart -n shop
quiet kubectl delete istio default -n kyma-system --timeout=120s
printf '         remaining: %s CRDs, %s webhooks, namespace istio-system: %s\n' \
  "$(kubectl get crd -o name | grep -c 'istio.io' || true)" \
  "$(kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o name 2>/dev/null | wc -l)" \
  "$(kubectl get namespace istio-system --ignore-not-found -o 'jsonpath={.status.phase}' | grep . || echo gone)"

step "Done"
