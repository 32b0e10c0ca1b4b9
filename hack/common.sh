# Shared by the scripts beside it: where things are, and how a step is announced.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
testbed="$root/bin/testbed"
started=$SECONDS

step() { printf '==> [%4ds] %s\n' "$((SECONDS - started))" "$*" >&2; }

# use_ct sets CT and KUBECTL, the programs with which the chart is linted and installed like anybody's.
use_ct() {
  hack/packages.sh git yamllint
  CT="$root/bin/ct"
  (cd hack/tools && go build -o "$CT" github.com/helm/chart-testing/v3/ct)
  KUBECTL=$("$testbed" tool kubectl)
  export CT KUBECTL
}

# use_flux sets FLUX_HELM_CONTROLLER and FLUX_SOURCE_CONTROLLER, Flux's own controllers, and FLUX_CRDS, the folders of the
# CustomResourceDefinitions that belong to them.
use_flux() {
  local name
  FLUX_HELM_CONTROLLER=$("$testbed" tool flux-helm-controller)
  FLUX_SOURCE_CONTROLLER=$("$testbed" tool flux-source-controller)
  FLUX_CRDS=
  for name in helm-controller source-controller; do
    FLUX_CRDS+=:$(cd "test/testbed/tools/flux-$name" &&
      go list -m -f '{{.Dir}}' "github.com/fluxcd/$name")/config/crd/bases
  done
  FLUX_CRDS=${FLUX_CRDS#:}
  export FLUX_HELM_CONTROLLER FLUX_SOURCE_CONTROLLER FLUX_CRDS
}

# use_released sets CHART_010, the chart of version 0.1.0, which tests of upgrades start with.
use_released() {
  CHART_010="$root/bin/chart-0.1.0"
  "$testbed" chart --revision 0.1.0 --out "$CHART_010"
  export CHART_010
}

# use_chart sets CHART and IMAGES: for the user's own cluster when KUBECONFIG is set, else for testbeds.
use_chart() {
  if [[ -n "${KUBECONFIG:-}" ]]; then
    IMAGES=${IMAGES:-upstream}
    step "using the cluster of KUBECONFIG=$KUBECONFIG with the published images"
    CHART="$root/bin/chart-published"
    rm -rf "$CHART"
    mkdir -p "$root/bin"
    cp -r charts/neutree "$CHART"
    "$HELM" dependency build "$CHART" >&2
  else
    IMAGES=stand-ins
    CHART="$root/bin/chart"
    "$testbed" chart --out "$CHART"
  fi
  export CHART IMAGES
}

# use_cluster [demo|tests|matrix] sets KUBECONFIG too: without one, the testbed is brought up, whose registry serves what the
# demo needs, or make matrix, or, unless that is said, what tests need.
use_cluster() {
  if [[ -z "${KUBECONFIG:-}" ]]; then
    # Some faults are for a testbed only.
    export TESTBED="$testbed"
    "$testbed" up --for "${1:-tests}" --audit --nodes "${NODES:-3}" --kubernetes "${KUBERNETES:-1.34}"
    use_chart
    KUBECONFIG=$("$testbed" kubeconfig)
    # Where the API server writes who asked it for what.
    AUDIT_LOG="$(dirname "$KUBECONFIG")/members/hub/log/audit.log"
    export KUBECONFIG AUDIT_LOG
  else
    use_chart
  fi
}
