package teardown

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	platform = `
apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: Namespace
metadata: {name: ws}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-env-runner-k8s, namespace: nap}
spec: {replicas: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tos-1, namespace: ws, labels: {app: tos}}
spec: {replicas: 1}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: tos-2, namespace: ws, labels: {app: tos}}
spec: {replicas: 3}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bystander, namespace: ws}
spec: {replicas: 1}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: tos-1-workspace, namespace: ws}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg}}
---
apiVersion: v1
kind: Secret
metadata: {name: nap-cp-secret, namespace: nap, labels: {app.kubernetes.io/managed-by: nap-hooks}}
data: {KEY: c2VjcmV0}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
`
	uninstalling = `
apiVersion: v1
kind: Secret
metadata: {name: sh.helm.release.v1.neutree.v3, namespace: nap, labels: {owner: helm, name: neutree, status: uninstalling, version: "3"}}
`
	deployed = `
apiVersion: v1
kind: Secret
metadata: {name: sh.helm.release.v1.neutree.v1, namespace: nap, labels: {owner: helm, name: neutree, status: deployed, version: "1"}}
---
apiVersion: v1
kind: Secret
metadata: {name: sh.helm.release.v1.other.v1, namespace: nap, labels: {owner: helm, name: other, status: uninstalling, version: "1"}}
`
	runnerPath = "/apis/apps/v1/namespaces/nap/deployments/nap-env-runner-k8s"
	pgPath     = "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg"
)

var spec = hook.TeardownSpec{
	Namespace: "nap", Release: "neutree", Prefix: "nap", Cluster: "nap-pg", Runner: "nap-env-runner-k8s",
	Workspaces: hook.TeardownWorkspaces{Namespace: "ws", Policy: "nap-workspaces-egress"},
}

func run(t *testing.T, server *kubetest.Server) (summary, log string) {
	t.Helper()
	var b bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	teardown := &Teardown{
		Log: slog.New(slog.NewTextHandler(&b, nil)), Client: server.Client(), Spec: spec,
		UpgradeWait: 200 * time.Millisecond, RunnerWait: 200 * time.Millisecond, DatabaseWait: 200 * time.Millisecond,
	}
	summary, err := teardown.Run(ctx)
	if err != nil {
		t.Error(err)
	}
	return summary, b.String()
}

// An install or upgrade that was cancelled may still migrate the database that is to be kept.
func TestStopsAnUpgradeFirst(t *testing.T) {
	migrate := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-migrate, namespace: nap}\nstatus: {active: 1}\n"
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: nap-migrate-x, namespace: nap, labels: " +
		"{batch.kubernetes.io/job-name: nap-migrate}}\nspec: {nodeName: node2}\nstatus: {phase: Running}\n"
	server := kubetest.New(t, platform, uninstalling, migrate, pod)
	summary, _ := run(t, server)
	if first := server.Changes()[0]; first.Method != "DELETE" ||
		first.Path != "/apis/batch/v1/namespaces/nap/jobs/nap-migrate" {
		t.Errorf("the first change is %s %s", first.Method, first.Path)
	}
	// The summary says so, and nothing waits for it.
	for _, words := range []string{"2 workspaces stopped, the database hibernates", "stop what an upgrade left running",
		"pod nap-migrate-x is still there on node node2"} {
		if !strings.Contains(summary, words) {
			t.Errorf("the summary does not say %q: %s", words, summary)
		}
	}
}

// A scheduled backup would lose its database in the middle.
func TestStopsAScheduledBackupFirst(t *testing.T) {
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-scheduled-backup-1, namespace: nap, labels: " +
		"{app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, " +
		"app.kubernetes.io/component: scheduled-backup}}\nstatus: {active: 1}\n"
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: nap-scheduled-backup-1-x, namespace: nap, labels: " +
		"{batch.kubernetes.io/job-name: nap-scheduled-backup-1}}\nspec: {nodeName: node2}\nstatus: {phase: Running}\n"
	server := kubetest.New(t, platform, uninstalling, job, pod)
	var order []string
	server.OnChange(func(number int) {
		if number == 1 {
			go server.Delete("/api/v1/namespaces/nap/pods/nap-scheduled-backup-1-x")
		}
	})
	summary, _ := run(t, server)
	for _, change := range server.Changes() {
		order = append(order, change.Method+" "+path.Base(strings.TrimSuffix(change.Path, "/scale")))
	}
	if len(order) < 2 || order[0] != "DELETE nap-scheduled-backup-1" || order[1] != "PATCH nap-env-runner-k8s" {
		t.Errorf("changed in the order %v", order)
	}
	if strings.Contains(summary, "warnings") {
		t.Errorf("the pod was not awaited: %s", summary)
	}
}

func TestRun(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	summary, log := run(t, server)
	want := "2 workspaces stopped, the database hibernates; kept: Cluster nap/nap-pg, Secret nap/nap-cp-secret, PersistentVolumeClaim nap/nap-pg-1, PersistentVolumeClaim ws/tos-1-workspace"
	if summary != want {
		t.Errorf("summary\n%s\nwant\n%s", summary, want)
	}
	for at, replicas := range map[string]any{
		runnerPath: int64(0),
		"/apis/apps/v1/namespaces/ws/deployments/tos-1":     int64(0),
		"/apis/apps/v1/namespaces/ws/statefulsets/tos-2":    int64(0),
		"/apis/apps/v1/namespaces/ws/deployments/bystander": int64(1),
	} {
		if got := server.Object(at).Object["spec"].(map[string]any)["replicas"]; got != replicas {
			t.Errorf("%s has %v replicas, want %v", at, got, replicas)
		}
	}
	if got := server.Object(pgPath).GetAnnotations()["cnpg.io/hibernation"]; got != "on" {
		t.Errorf("hibernation is %q", got)
	}
	if strings.Contains(log+summary, "c2VjcmV0") {
		t.Error("a secret value was shown")
	}
	if first := server.Changes()[0].Path; first != runnerPath+"/scale" {
		t.Errorf("the first change is to %s: the runner must stop before the workspaces", first)
	}
}

// The policy that bootstrap created goes with the release, as Helm's own do; one of the same name that it did not create
// stays.
func TestThePolicyOfWorkspacesGoes(t *testing.T) {
	const path = "/apis/networking.k8s.io/v1/namespaces/ws/networkpolicies/nap-workspaces-egress"
	for manager, gone := range map[string]bool{"nap-hooks": true, "Kustomize": false} {
		server := kubetest.New(t, platform, uninstalling, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nap-workspaces-egress, namespace: ws, labels: {app.kubernetes.io/managed-by: `+manager+`}}
`)
		if summary, _ := run(t, server); strings.Contains(summary, "warnings") || (server.Object(path) == nil) != gone {
			t.Errorf("managed by %s: gone %t, want %t: %s", manager, server.Object(path) == nil, gone, summary)
		}
	}
	server := kubetest.New(t, platform, uninstalling)
	server.Refuse(-1, "GET", path, kubetest.Status(403, metav1.StatusReasonForbidden, "no"))
	want := "delete NetworkPolicy ws/nap-workspaces-egress: "
	if summary, _ := run(t, server); !strings.Contains(summary, want) {
		t.Errorf("%q is not in the summary: %s", want, summary)
	}
}

// There may be so many workspaces that all the time goes by with them.
func TestTheDatabaseDoesNotWaitForWorkspaces(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	run(t, server)
	var order []string
	for _, change := range server.Changes() {
		order = append(order, path.Base(strings.TrimSuffix(change.Path, "/scale")))
	}
	database, workspace := slices.Index(order, "nap-pg"), slices.Index(order, "tos-1")
	if runner := slices.Index(order, "nap-env-runner-k8s"); runner != 0 || database > workspace || database < 0 {
		t.Errorf("changed in the order %v, want the runner first and nap-pg before tos-1", order)
	}
}

func TestTimeRunsOutWithWorkspaces(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	// No time is left for workspaces once what is kept back for later is taken off.
	ctx, cancel := context.WithTimeout(t.Context(), checkTime)
	defer cancel()
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: spec}
	summary, err := teardown.Run(ctx)
	want := "0 workspaces stopped, the database hibernates; warnings: stop the workspaces: " +
		"list the workspaces' deployments in namespace ws: "
	remedy := "; stop them with kubectl scale deployments,statefulsets -l app=tos -n ws --replicas=0 " +
		"[teardown.incomplete]; kept: "
	if err != nil || !strings.HasPrefix(summary, want) || !strings.Contains(summary, remedy) {
		t.Errorf("summary %q, %v, want\n%s…%s", summary, err, want, remedy)
	}
}

// The newest record may be that of an upgrade which was refused: what Helm deletes by it is not the Job that ran.
func TestJobsOfEveryRevisionGo(t *testing.T) {
	job := func(name, release, component string) string {
		return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: " + name + ", namespace: nap, labels: {app.kubernetes.io/instance: " + release +
			", app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: " + component + "}}\n"
	}
	server := kubetest.New(t, platform, uninstalling, job("nap-bootstrap-1", "neutree", "bootstrap"), job("nap-bootstrap-2", "neutree", "bootstrap"),
		job("nap-prepare", "neutree", "prepare"), job("nap-teardown", "neutree", "teardown"), job("other-bootstrap", "other", "bootstrap"))
	run(t, server)
	const jobs = "/apis/batch/v1/namespaces/nap/jobs/"
	for name, left := range map[string]bool{"nap-bootstrap-1": false, "nap-bootstrap-2": false, "nap-prepare": false, "nap-teardown": true, "other-bootstrap": true} {
		if got := server.Object(jobs+name) != nil; got != left {
			t.Errorf("Job %s is there: %v, want %v", name, got, left)
		}
	}
}

func TestNothingIsKeptWhenDataIsDeletedNext(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	deletes := spec
	deletes.DeleteData, deletes.Revision = true, 3
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: deletes}
	summary, err := teardown.Run(t.Context())
	if want := "2 workspaces stopped, the database hibernates; all data is deleted next, as uninstall.deleteData says"; err != nil || summary != want {
		t.Errorf("summary %q, %v, want %q", summary, err, want)
	}
}

// A rollback brings hooks back that delete data, under a new revision for which it was not asked.
func TestDataIsKeptWhenAnotherRevisionAskedForItsDeletion(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	deletes := spec
	deletes.DeleteData, deletes.Revision = true, 2
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: deletes}
	summary, err := teardown.Run(t.Context())
	want := "2 workspaces stopped, the database hibernates; all data is kept: uninstall.deleteData was set for " +
		"revision 2 of release neutree, and revision 3 is being uninstalled; kept: "
	if err != nil || !strings.HasPrefix(summary, want) {
		t.Errorf("summary %q, %v, want it to begin with %q", summary, err, want)
	}
}

// ArgoCD keeps no record. It creates the Job, with its mark, when an Application is deleted; who applies a whole render
// creates it without.
func TestByArgoCD(t *testing.T) {
	const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-teardown, namespace: nap, labels: " +
		"{app.kubernetes.io/part-of: neutree, app.kubernetes.io/instance: neutree, app.kubernetes.io/component: teardown}%s}\n"
	server := kubetest.New(t, platform, fmt.Sprintf(job, ""))
	if summary, _ := run(t, server); summary != "nothing to do: the release is not being uninstalled" {
		t.Errorf("a Job that someone applied: %s", summary)
	}
	if changes := server.Changes(); len(changes) > 0 {
		t.Errorf("a Job that someone applied changed something: %v", changes)
	}
	server = kubetest.New(t, platform, fmt.Sprintf(job, ", annotations: {argocd.argoproj.io/tracking-id: x}"))
	deletes := spec
	deletes.DeleteData, deletes.Revision = true, 1
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: deletes, DatabaseWait: time.Millisecond}
	summary, err := teardown.Run(t.Context())
	want := "2 workspaces stopped, the database hibernates; all data is kept: uninstall.deleteData works with helm uninstall " +
		"only; kept: Cluster nap/nap-pg, "
	if err != nil || !strings.HasPrefix(summary, want) {
		t.Errorf("summary %q, %v, want it to begin with %q", summary, err, want)
	}
}

func TestNothingUnlessUninstalling(t *testing.T) {
	server := kubetest.New(t, platform, deployed)
	summary, _ := run(t, server)
	if want := "nothing to do: the release is not being uninstalled"; summary != want {
		t.Errorf("summary %q, want %q", summary, want)
	}
	if changes := server.Changes(); len(changes) > 0 {
		t.Errorf("changes: %v", changes)
	}
}

func TestRecordInConfigMap(t *testing.T) {
	server := kubetest.New(t, platform, strings.Replace(uninstalling, "kind: Secret", "kind: ConfigMap", 1))
	if summary, _ := run(t, server); !strings.HasPrefix(summary, "2 workspaces stopped, the database hibernates") {
		t.Errorf("summary %q", summary)
	}
}

func TestNeverFails(t *testing.T) {
	pod := `
apiVersion: v1
kind: Pod
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg, cnpg.io/podRole: instance}}
`
	// The Deployment does not count it any more, yet it may still start workspaces.
	ending := `
apiVersion: v1
kind: Pod
metadata: {name: nap-env-runner-k8s-1, namespace: nap, labels: {app: nap-env-runner-k8s}, deletionTimestamp: "2026-01-01T00:00:00Z"}
`
	denied := kubetest.Status(403, metav1.StatusReasonForbidden,
		`secrets is forbidden: User "t" cannot list resource "secrets" in API group "" in the namespace "nap"`)
	for _, tc := range []struct {
		name    string
		objects []string
		refuse  func(*kubetest.Server)
		want    string
	}{
		{
			name: "the record may not be read", objects: []string{platform, uninstalling},
			refuse: func(s *kubetest.Server) { s.Refuse(-1, "GET", "/api/v1/namespaces/nap/secrets", denied) },
			want:   "nothing was stopped, since it can't be told whether the release is being uninstalled; warnings: find the release record: t may not list secrets in namespace nap",
		},
		{
			name: "nothing is there", objects: []string{uninstalling, "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}"},
			want: "0 workspaces stopped",
		},
		{
			name: "PostgreSQL does not stop", objects: []string{platform, uninstalling, pod},
			want: "warnings: stop the database: gave up waiting for PostgreSQL to stop after 0s: there is still nap-pg-1",
		},
		{
			name: "the runner does not stop", objects: []string{platform, uninstalling, ending},
			want: "warnings: stop the runner nap-env-runner-k8s: gave up waiting for the runner to stop after 0s: 1 of its pods are left",
		},
		{
			name: "workspaces can't be stopped", objects: []string{platform, uninstalling},
			refuse: func(s *kubetest.Server) {
				for _, at := range []string{"deployments/tos-1", "statefulsets/tos-2"} {
					s.Refuse(-1, "PATCH", "/apis/apps/v1/namespaces/ws/"+at, kubetest.Status(500, metav1.StatusReasonInternalError, "no quorum"))
				}
			},
			want: "warnings: stop the workspaces: workspace tos-1 in namespace ws: no quorum; workspace tos-2 in namespace ws: no quorum [teardown.incomplete]; kept:",
		},
		{
			name: "the Cluster can't be changed", objects: []string{platform, uninstalling},
			refuse: func(s *kubetest.Server) {
				s.Refuse(-1, "PATCH", pgPath, kubetest.Status(500, metav1.StatusReasonInternalError, "no webhook"))
			},
			want: "2 workspaces stopped; warnings: stop the database: no webhook [teardown.incomplete]; kept: Cluster nap/nap-pg, ",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := kubetest.New(t, tc.objects...)
			if tc.refuse != nil {
				tc.refuse(server)
			}
			if summary, log := run(t, server); !strings.Contains(summary, tc.want) {
				t.Errorf("summary\n%s\nlacks\n%s\n%s", summary, tc.want, log)
			}
		})
	}
}

func TestReportAfterTheDeadline(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling, `
apiVersion: v1
kind: Pod
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg, cnpg.io/podRole: instance}}
`)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: spec}
	summary, err := teardown.Run(ctx)
	if err != nil {
		t.Error(err)
	}
	if want := "; kept: Cluster nap/nap-pg, Secret nap/nap-cp-secret, "; !strings.Contains(summary, want) {
		t.Errorf("summary\n%s\nlacks\n%s", summary, want)
	}
}

func TestSignalIsWorthAnotherTry(t *testing.T) {
	server := kubetest.New(t, platform, uninstalling)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server.OnChange(func(int) { cancel() })
	teardown := &Teardown{Log: slog.New(slog.DiscardHandler), Client: server.Client(), Spec: spec}
	if _, err := teardown.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want one that says that it was cut off", err)
	}
	server.OnChange(nil)
	if summary, _ := run(t, server); !strings.HasPrefix(summary, "2 workspaces stopped, the database hibernates") {
		t.Errorf("the next try: %s", summary)
	}
}
