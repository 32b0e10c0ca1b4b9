package bootstrap

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	egressPath     = "/apis/networking.k8s.io/v1/namespaces/ws/networkpolicies/nap-workspaces-egress"
	egressManifest = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nap-workspaces-egress, namespace: ws, labels: {team: platform}}
spec:
  podSelector: {matchLabels: {app: tos}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]
`
	notLimited = "workspaces may connect to anything, such as the API server"
)

// newEgressWorld has a release with the policy, and a database that an earlier version has set up if existing is true.
func newEgressWorld(t *testing.T, mode string, existing bool) *world {
	t.Helper()
	w := newWorld(t, cluster)
	w.write(t, "egress.yaml", egressManifest)
	w.write(t, "resolv.conf", "nameserver 10.96.0.10\n")
	w.spec.Egress = hook.BootstrapEgress{Policy: "nap-workspaces-egress", Mode: mode, Manifest: w.dir + "/egress.yaml"}
	if existing {
		w.migrate(t, "an-old-set")
	}
	return w
}

// migrate does what another program than bootstrap may have done before it.
func (w *world) migrate(t *testing.T, set string) {
	t.Helper()
	migrator := migrate.Migrator{URL: w.dsn, Log: slog.New(slog.DiscardHandler)}
	if _, err := migrator.Apply(t.Context(), set, w.spec.Migrations); err != nil {
		t.Fatal(err)
	}
}

func (w *world) wantClosed(t *testing.T, want bool) {
	t.Helper()
	if got := w.server.Object(egressPath) != nil; got != want {
		t.Errorf("the policy exists: %t, want %t\n%s", got, want, w.log)
	}
	if said := strings.Contains(w.log.String(), notLimited); said == want {
		t.Errorf("the log says that workspaces are not limited: %t, want %t\n%s", said, !want, w.log)
	}
	w.log.Reset()
}

func TestEgressOfANewInstallationIsLimited(t *testing.T) {
	w := newEgressWorld(t, "auto", false)
	w.mustRun(t)
	policy := w.server.Object(egressPath)
	if policy == nil {
		t.Fatalf("there is no policy:\n%s", w.log)
	}
	labels := policy.GetLabels()
	if labels["app.kubernetes.io/managed-by"] != "nap-hooks" || labels["team"] != "platform" {
		t.Errorf("labels %v", labels)
	}
	if _, is := labels["app.kubernetes.io/instance"]; is {
		t.Errorf("labels %v: ArgoCD would take the policy for its own, and prune it", labels)
	}
	w.wantClosed(t, true)
	// An upgrade changes a policy that exists, and creates one again that someone deleted.
	w.write(t, "egress.yaml", strings.Replace(egressManifest, "0.0.0.0/0", "8.0.0.0/8", 1))
	w.mustRun(t)
	w.server.Delete(egressPath)
	w.mustRun(t)
	w.wantClosed(t, true)
	raw, err := json.Marshal(w.server.Object(egressPath).Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), `"`, "")
	for _, want := range []string{"cidr:8.0.0.0/8", "cidr:10.96.0.10/32", "port:53,protocol:UDP"} {
		if !strings.Contains(text, want) {
			t.Errorf("the policy lacks %s: %s", want, text)
		}
	}
}

// A first run that ends after the first migration, or one whose database the hook before it has migrated, is new all the
// same.
func TestEgressOfAnInstallationThatWasCutOffIsLimited(t *testing.T) {
	w := newEgressWorld(t, "auto", false)
	policies := "/apis/networking.k8s.io/v1/namespaces/ws/networkpolicies/"
	w.server.Refuse(1, "PATCH", policies+"nap-workspaces-egress", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden, `networkpolicies.networking.k8s.io "nap-workspaces-egress" is forbidden: User `+
			`"system:serviceaccount:nap:nap-bootstrap" cannot patch resource "networkpolicies" in API group `+
			`"networking.k8s.io" in the namespace "ws"`))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := w.run(ctx)
	want := "may not patch networkpolicies.networking.k8s.io in namespace ws"
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) {
		t.Fatalf("exit %d: %v lacks %q", hook.CodeOf(err), err, want)
	}
	if tables := query(t, w.dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'first'"); tables != 0 {
		t.Error("it was migrated although workspaces are not limited yet")
	}
	w.migrate(t, "a-set")
	w.mustRun(t)
	w.wantClosed(t, true)
}

func TestEgressOfAnExistingInstallationStaysOpenUntilAValueIsSet(t *testing.T) {
	w := newEgressWorld(t, "auto", true)
	w.mustRun(t)
	w.wantClosed(t, false)
	w.mustRun(t)
	w.wantClosed(t, false)
	for _, step := range []struct {
		mode   string
		closed bool
	}{{"closed", true}, {"auto", true}, {"open", false}, {"auto", false}} {
		w.spec.Egress.Mode = step.mode
		w.mustRun(t)
		w.wantClosed(t, step.closed)
	}
}

func TestEgressOfANewInstallationCanBeOpened(t *testing.T) {
	w := newEgressWorld(t, "open", false)
	w.mustRun(t)
	w.wantClosed(t, false)
}

// Without NetworkPolicies there is none for workspaces either.
func TestEgressWithoutNetworkPolicies(t *testing.T) {
	w := newEgressWorld(t, "closed", false)
	w.mustRun(t)
	w.wantClosed(t, true)
	w.spec.Egress.Manifest = ""
	w.mustRun(t)
	if w.server.Object(egressPath) != nil || !strings.Contains(w.log.String(), "NetworkPolicies are off") {
		t.Errorf("the policy is there still, or the log does not say why it is gone:\n%s", w.log)
	}
}

func TestAPolicyOfSomeoneElseIsNotDeleted(t *testing.T) {
	w := newEgressWorld(t, "open", true)
	w.server.Put(egressManifest)
	w.mustRun(t)
	if w.server.Object(egressPath) == nil {
		t.Error("it is deleted")
	}
	if !strings.Contains(w.log.String(), "a NetworkPolicy that this release did not create stays") {
		t.Errorf("the log does not say so:\n%s", w.log)
	}
}

// A database that version 0.1.0 set up has no record of how it began, also after this version has claimed it.
func TestEgressAfterAnOlderRecord(t *testing.T) {
	w := newEgressWorld(t, "auto", false)
	w.mustRun(t)
	w.server.Delete(egressPath)
	pgtest.Exec(t, w.dsn, "ALTER TABLE neutree.owner DROP COLUMN began_empty")
	w.log.Reset()
	w.mustRun(t)
	w.wantClosed(t, false)
}

// Some network plugins enforce nothing of a policy with a range of a family that they do not know.
func TestEgressLeavesOutFamiliesThatPodsDoNotHave(t *testing.T) {
	w := newEgressWorld(t, "closed", false)
	w.families = egress.FamiliesOf("10.244.0.7", "10.96.0.1")
	const six = `egress: [{to: [{ipBlock: {cidr: "::/0"}}]}, `
	w.write(t, "egress.yaml", strings.Replace(egressManifest, "egress: [", six, 1))
	w.mustRun(t)
	raw, err := json.Marshal(w.server.Object(egressPath).Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "::/0") || !strings.Contains(string(raw), "0.0.0.0/0") {
		t.Errorf("the policy is not for IPv4 alone: %s", raw)
	}
	want := `leaves out ranges of an IP family that pods do not have" ranges=[::/0]`
	if !strings.Contains(w.log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, w.log)
	}
}

// An existing installation is said what its users lose by the policy: at each upgrade before it is applied, and when it is.
func TestEgressSaysWhatUsersLose(t *testing.T) {
	w := newEgressWorld(t, "auto", true)
	w.write(t, "egress.yaml", strings.Replace(egressManifest, "{cidr: 0.0.0.0/0}",
		"{cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}", 1))
	exec(t, w.dsn, `
CREATE TABLE public.model_providers (id text, name text, base_url text);
CREATE TABLE public.mcp_catalog (id text, name text, url text);
INSERT INTO public.model_providers VALUES ('1', 'ours', 'http://10.1.2.3:8000/v1'), ('2', 'public', 'https://203.0.113.9'),
	('3', 'broken', '::'), ('4', 'empty', NULL), ('5', 'nowhere', 'https://models.invalid');
INSERT INTO public.mcp_catalog VALUES ('1', 'wiki', 'https://192.168.7.7/mcp'),
	('2', 'platform', 'http://nap-cp.`+w.spec.Namespace+`.svc:3000/mcp');`)
	ours := `10.1.2.3, port 8000, which takes [{\"cidr\":\"10.1.2.3/32\",\"ports\":[{\"port\":8000}]}]`
	for _, step := range []struct{ mode, verb string }{{"auto", "would cut"}, {"closed", "cuts"}, {"closed", ""}} {
		w.spec.Egress.Mode = step.mode
		w.mustRun(t)
		log := w.log.String()
		for _, want := range []string{"model provider ours uses " + ours, "MCP server wiki uses 192.168.7.7, port 443"} {
			said := strings.Contains(log, want) && strings.Contains(log, "the policy for workspaces "+step.verb+" what users have set")
			if said != (step.verb != "") {
				t.Errorf("mode %s: the log says %q: %t\n%s", step.mode, want, said, log)
			}
		}
		for _, not := range []string{"public", "broken", "empty", "nowhere", "platform uses"} {
			if strings.Contains(log, "provider "+not) || strings.Contains(log, "server "+not) {
				t.Errorf("mode %s: the log names %s\n%s", step.mode, not, log)
			}
		}
		w.log.Reset()
	}
}
