#!/usr/bin/env bash
# demo.sh up|down: install the platform as a user would, and remove it again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

release=neutree
namespace=nap

up() {
  step "building what the demo needs (the first time takes about 10 minutes on two cores)"
  # Without a helm on PATH it is Helm 3, of which the testbed consists already: Helm 4 takes most of a minute longer.
  HELM=$("$testbed" tool --path helm-3)
  use_cluster demo
  kubectl=$("$testbed" tool --path kubectl)
  local settings=()
  if [[ "$IMAGES" == upstream ]]; then
    step "images: the published ones, since KUBECONFIG names a cluster of your own"
  else
    step "images: stand-ins of the platform's services, since the embedded cluster has no way to the public registries"
    # They may be built again under the same tags, and a node that has one would keep it.
    settings+=(--set global.imagePullPolicy=Always)
  fi

  host=${DEMO_HOST:-$("$kubectl" get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')}
  if [[ -z "$host" ]]; then
    echo "the first node tells no address: name one that reaches the cluster in DEMO_HOST" >&2
    exit 1
  fi
  settings+=(--set global.host="$host" ${VALUES:+--values "$VALUES"})
  if [[ "${PREFLIGHT:-}" != no ]]; then
    make --no-print-directory plugin
    step "helm neutree preflight (PREFLIGHT=no leaves it out)"
    "$root/bin/helm-neutree" preflight "$release" "$CHART" --namespace "$namespace" "${settings[@]}" >&2
  fi
  step "helm upgrade --install $release (host $host)"
  "$HELM" upgrade --install "$release" "$CHART" --namespace "$namespace" --create-namespace --wait --timeout 15m \
    "${settings[@]}" >&2

  step "the platform runs"
  "$HELM" list --all-namespaces >&2
  "$kubectl" get pods --all-namespaces >&2
  cat <<E2

URL:       http://$host:30080
Login:     admin
Password:  KUBECONFIG=$KUBECONFIG $kubectl -n $namespace get secret nap-admin -o go-template='{{.data.password | base64decode}}{{"\n"}}'
Remove:    make demo-down
E2
}

down() {
  if [[ -z "${KUBECONFIG:-}" ]]; then
    step "removing the embedded cluster"
    "$testbed" down
    return
  fi
  HELM=$("$testbed" tool --path helm-3)
  step "uninstalling the release; data and Secrets stay in namespace $namespace"
  "$HELM" uninstall "$release" --namespace "$namespace" --ignore-not-found --wait --timeout 10m >&2
}

case "${1:-}" in
  up | down) "$1" ;;
  *) echo "usage: demo.sh up|down" >&2; exit 2 ;;
esac
