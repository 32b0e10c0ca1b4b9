#!/usr/bin/env bash
# matrix.sh: on every Kubernetes version that the testbed boots, under Helm 3 and Helm 4, the life of a release, and the
# chart installed and upgraded by ct with each of its values files. It takes hours, and ends with a table.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make --no-print-directory bin/testbed
"$testbed" build --kubernetes 1.28 --kubernetes 1.34
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
export HELM3 HELM4
unset KUBECONFIG
results=$(mktemp)
trap 'rm -f "$results"' EXIT
failed=0

# tests PATTERN: runs them on the cluster that is up, and notes the outcome of each.
tests() {
  local log
  log=$(mktemp)
  go test -tags e2e -count 1 -timeout 4h -v -run "$1" ./test/e2e | tee "$log" || failed=1
  sed -nE "s|^ *--- (PASS\|FAIL): ([^ ]+) \(([0-9.]+)s\)|$kubernetes\t$nodes\t\2\t\1\t\3 s|p" "$log" >>"$results"
  rm -f "$log"
}

for kubernetes in 1.28 1.34; do
  for nodes in 1 3; do
    step "Kubernetes $kubernetes, $nodes node(s)"
    "$testbed" down
    NODES=$nodes KUBERNETES=$kubernetes use_cluster
    KUBERNETES=$kubernetes use_ct
    tests '^(TestLifecycle|TestHelm3)$'
    ((nodes == 1)) || HELMS="3 4" CI_VALUES=all tests '^TestChartTesting$'
    unset KUBECONFIG
  done
done
"$testbed" down
{ printf 'KUBERNETES\tNODES\tTEST\tRESULT\tTIME\n'; cat "$results"; } | column -t -s $'\t'
step "done"
exit "$failed"
