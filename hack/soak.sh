#!/usr/bin/env bash
# soak.sh: the fault suite in full, on a testbed of three nodes. RUN narrows it: RUN=TestFaults/the-operator-down.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

unset KUBECONFIG
make --no-print-directory bin/testbed bin/helm-neutree
"$testbed" build
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
HELM_NEUTREE="$root/bin/helm-neutree"
export HELM3 HELM4 HELM_NEUTREE
use_chart
step "faults, each as often as it takes to trust what it shows"
go build -o bin/clustertest ./test/clustertest
SOAK=1 RUN=${RUN:-^TestFaults$} exec bin/clustertest -limit 120m -v
