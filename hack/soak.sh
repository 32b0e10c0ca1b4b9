#!/usr/bin/env bash
# soak.sh: the fault suite in full, each fault ten times, on testbeds of three nodes. It takes hours, and is divided
# into parts of at most 90 minutes, each of which ends with a table of its own. Without PART all parts run, one after
# another.
#
# PART names one of them: PART=2/9 make soak
# SEED repeats what was random in an earlier run, which prints it: SEED=1796068513 PART=2/9 make soak
# RUN names one fault: RUN=TestFaults//the-operator-down make soak
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# How many parts there are when PART names none: as many as keep each below 90 minutes on two cores.
parts=9

unset KUBECONFIG
make --no-print-directory bin/testbed bin/helm-neutree
"$testbed" build
HELM3=$("$testbed" tool helm-3)
HELM4=$("$testbed" tool helm-4)
HELM_NEUTREE="$root/bin/helm-neutree"
export HELM3 HELM4 HELM_NEUTREE
export SEED=${SEED:-$(date +%s)} SOAK=1 RUN=${RUN:-^TestFaults$}
use_chart
go build -o bin/clustertest ./test/clustertest

# soak PART: its exit code is that of the tests.
soak() {
  step "faults, each as often as it takes to trust what it shows: part $1, seed $SEED"
  PART=$1 bin/clustertest -limit 90m -v
}

if [[ -n "${PART:-}" ]]; then
  soak "$PART"
elif [[ "$RUN" != "^TestFaults$" ]]; then
  soak 1/1
else
  failed=0
  for part in $(seq "$parts"); do soak "$part/$parts" || failed=1; done
  exit "$failed"
fi
