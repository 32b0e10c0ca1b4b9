#!/usr/bin/env bash
# matrix.sh: the life of a release on every Kubernetes version the testbed boots, under Helm 3 and Helm 4.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make --no-print-directory bin/testbed
"$testbed" build --kubernetes 1.28 --kubernetes 1.34
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
export HELM3 HELM4
unset KUBECONFIG
for kubernetes in 1.28 1.34; do
  for nodes in 1 3; do
    step "Kubernetes $kubernetes, $nodes node(s)"
    "$testbed" down
    NODES=$nodes KUBERNETES=$kubernetes use_cluster
    go test -tags e2e -count 1 -timeout 30m -v -run '^(TestLifecycle|TestHelm3)$' ./test/e2e
    unset KUBECONFIG
  done
done
"$testbed" down
step "done"
