package hub

import (
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

func TestUnits(t *testing.T) {
	c := &plan.Cluster{StateDir: "/state", Binaries: map[string]string{"etcd": "/bin/etcd"}}
	got := units(c)
	var names []string
	for _, unit := range got {
		names = append(names, unit.Name)
	}
	if all := strings.Join(names, " "); all != "etcd kube-apiserver kube-controller-manager kube-scheduler coredns services" {
		t.Errorf("units: %s", all)
	}
	if got[0].Command[0] != "/bin/etcd" {
		t.Errorf("etcd is %v", got[0].Command)
	}
	if got[1].Ready == nil {
		t.Error("the API server does not wait for etcd")
	}
}

func TestCorefileServesTheClusterAndKnowsNobodyElse(t *testing.T) {
	got := corefile(&plan.Cluster{Range: 1, StateDir: "/state"})
	for _, want := range []string{"bind 198.18.64.2\n", "kubernetes cluster.local in-addr.arpa . {", "kubeconfig /state/kubeconfig\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "forward") {
		t.Errorf("it asks others:\n%s", got)
	}
}

func TestAuditLogIsKeptOnDemand(t *testing.T) {
	c := &plan.Cluster{StateDir: "/state"}
	const want = "--audit-log-path=/state/members/hub/log/audit.log"
	if slices.Contains(apiServerFlags(c), want) {
		t.Error("it is kept unasked")
	}
	c.Audit = true
	if flags := apiServerFlags(c); !slices.Contains(flags, want) {
		t.Errorf("no %s in %v", want, flags)
	}
}
