package database

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	serving = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap, labels: {app.kubernetes.io/part-of: neutree}, annotations: {cnpg.io/hibernation: "off"}}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}, postgresql: {parameters: {max_connections: "100", work_mem: 4MB}}}
status: {phase: Cluster in healthy state, currentPrimary: nap-pg-1}
`
	instance = `
apiVersion: v1
kind: Pod
metadata: {name: nap-pg-1, namespace: nap, uid: first, labels: {cnpg.io/cluster: nap-pg, cnpg.io/podRole: instance}}
status: {phase: Running}
`
	moreConnections = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, labels: {app.kubernetes.io/part-of: neutree}}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}, postgresql: {parameters: {max_connections: "200", work_mem: 4MB}}}
`
	restarting = "Primary instance is being restarted in-place"
)

func TestWhatAManifestChanges(t *testing.T) {
	const was = `{metadata: {labels: {a: b}}, spec: {instances: 1, resources: {}, postgresql: {parameters: {a: "1", b: "2"}}}}`
	for name, tc := range map[string]struct {
		is, want             string
		configures, replaces bool
	}{
		"nothing":    {is: was},
		"parameters": {`{metadata: {labels: {a: b}}, spec: {instances: 1, resources: {}, postgresql: {parameters: {a: "1", c: "2"}}}}`, "postgresql.parameters (b, c)", true, false},
		"pg_hba":     {`{metadata: {labels: {a: b}}, spec: {instances: 1, resources: {}, postgresql: {pg_hba: [x], parameters: {a: "1", b: "2"}}}}`, "postgresql.pg_hba", false, false},
		"resources":  {`{metadata: {labels: {a: b}}, spec: {instances: 1, resources: {limits: {cpu: 1}}, postgresql: {parameters: {a: "1", b: "2"}}}}`, "resources", false, true},
		"several":    {`{metadata: {annotations: {a: b}}, spec: {instances: 3, resources: {}, postgresql: {parameters: {a: "1", b: "2"}, synchronous: {number: 1}}}}`, "instances, postgresql.synchronous, labels, annotations", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			change := compare(object(t, was), object(t, tc.is))
			if change.String() != tc.want || change.Empty() != (tc.want == "") {
				t.Errorf("changed %q, want %q", change, tc.want)
			}
			if change.configures() != tc.configures || change.replacesPods() != tc.replaces {
				t.Errorf("it writes a configuration %v, replaces pods %v", change.configures(), change.replacesPods())
			}
		})
	}
}

// changing is a Cluster that runs, on a real PostgreSQL, and what manifest would change of it.
func changing(t *testing.T, live, manifest string) (*Changing, *Change, *kubetest.Server, func() string) {
	t.Helper()
	server := kubetest.New(t, namespace, live, instance)
	log := &lockedBuffer{}
	cluster := New(slog.New(slog.NewTextHandler(log, nil)), server.Client(), "nap", "nap-pg")
	change, err := cluster.Compare(contextFor(t, 10*time.Second), object(t, manifest))
	if err != nil {
		t.Fatal(err)
	}
	return &Changing{Cluster: cluster, URL: pgtest.Start(t), Patience: 20 * time.Second}, change, server, log.String
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// operate calls do once, when the Cluster was changed, and waits for it when the test ends.
func operate(t *testing.T, server *kubetest.Server, do func()) {
	t.Helper()
	done := make(chan struct{})
	var once atomic.Bool
	server.OnChange(func(number int) {
		// The first two are dry runs. The double is locked meanwhile.
		if number >= 3 && once.CompareAndSwap(false, true) {
			go func() {
				defer close(done)
				do()
			}()
		}
	})
	t.Cleanup(func() {
		if once.Load() {
			<-done
		}
	})
}

func withPhase(cluster, phase string) string {
	return strings.Replace(cluster, "Cluster in healthy state", phase, 1)
}

// The change is done when PostgreSQL runs with it, not when the API server has it.
func TestAChangeThatRestartsIsWaitedFor(t *testing.T) {
	c, change, server, log := changing(t, serving, moreConnections)
	changed := strings.Replace(serving, `"100"`, `"200"`, 1)
	var restarted atomic.Bool
	operate(t, server, func() {
		reload(t, c.URL, "90")
		setConfig(t, c.URL, "new")
		awaitLog(t, log, "it must restart for max_connections")
		server.Put(withPhase(changed, restarting))
		reload(t, c.URL, "50")
		awaitLog(t, log, "the operator says: "+restarting)
		restarted.Store(true)
		server.Put(changed)
	})
	setConfig(t, c.URL, "old")
	said, err := c.Run(contextFor(t, 30*time.Second), change)
	if err != nil {
		t.Fatal(err)
	}
	if !restarted.Load() || !strings.HasPrefix(said, "PostgreSQL was restarted with its new values "+
		"(postgresql.parameters (max_connections)) in ") {
		t.Errorf("restarted %v, said %q", restarted.Load(), said)
	}
	before, _, _ := strings.Cut(log(), "Cluster applied")
	if !strings.Contains(before, "PostgreSQL restarts now, before any service is replaced") || !strings.Contains(before,
		"settings=max_connections") {
		t.Errorf("the log does not say beforehand what restarts PostgreSQL:\n%s", before)
	}
}

// Other resources make other pods, and the database answers until then.
func TestAChangeThatReplacesPodsIsWaitedFor(t *testing.T) {
	c, change, server, log := changing(t, serving, strings.Replace(serving, "instances: 1",
		"instances: 1, resources: {limits: {cpu: 1}}", 1))
	var replaced atomic.Bool
	operate(t, server, func() {
		awaitLog(t, log, "the operator has not acted on the change yet")
		server.Delete("/api/v1/namespaces/nap/pods/nap-pg-1")
		replaced.Store(true)
		server.Put(strings.Replace(instance, "first", "second", 1))
	})
	if said, err := c.Run(contextFor(t, 30*time.Second), change); err != nil || !replaced.Load() ||
		!strings.Contains(said, "(resources)") {
		t.Errorf("replaced %v: %q, %v", replaced.Load(), said, err)
	}
	if !strings.Contains(log(), "the pods of PostgreSQL are replaced now, before any service is replaced") {
		t.Errorf("the log does not say beforehand that pods are replaced:\n%s", log())
	}
}

func TestAChangeThatNeedsNoRestart(t *testing.T) {
	c, change, server, log := changing(t, serving, strings.Replace(serving, "4MB", "8MB", 1))
	operate(t, server, func() { setConfig(t, c.URL, "new") })
	said, err := c.Run(contextFor(t, 30*time.Second), change)
	if err != nil || said != "the database has its new values (postgresql.parameters (work_mem))" {
		t.Errorf("%q, %v", said, err)
	}
	if strings.Contains(log(), "restarts now") {
		t.Errorf("nothing restarts:\n%s", log())
	}
}

// Some changes never show. The operator is not waited for longer than it takes to act.
func TestAnOperatorThatDoesNotAct(t *testing.T) {
	c, change, _, _ := changing(t, serving, strings.Replace(serving, "4MB", "8MB", 1))
	c.ActTime = 50 * time.Millisecond
	if _, err := c.Run(contextFor(t, 30*time.Second), change); err != nil {
		t.Error(err)
	}
}

// The services that run need their database more than its new values.
func TestAChangeThatFailsIsSetBack(t *testing.T) {
	c, change, server, log := changing(t, serving, moreConnections)
	c.Patience = 2 * time.Second
	operate(t, server, func() {
		server.Put(withPhase(strings.Replace(serving, `"100"`, `"200"`, 1),
			"Cluster is unrecoverable and needs manual intervention"))
	})
	_, err := c.Run(contextFor(t, 30*time.Second), change)
	expect(t, err, hook.Refused, "PostgreSQL does not run with its new values (postgresql.parameters (max_connections))",
		"the operator says: Cluster is unrecoverable", "the previous version is still running",
		"fix the values below global.database", "[upgrade.database-change]")
	want := object(t, serving).Object["spec"]
	if diff := cmp.Diff(want, server.Object(clustersPath).Object["spec"]); diff != "" {
		t.Errorf("the Cluster is not set back (-want +got):\n%s\n%s", diff, log())
	}
}

// A rollback applies its values again with the services.
func TestAChangeThatFailsStaysWhereItIsAppliedAgain(t *testing.T) {
	c, change, server, _ := changing(t, serving, moreConnections)
	c.Patience, c.Forward = time.Second, true
	operate(t, server, func() { server.Put(withPhase(strings.Replace(serving, `"100"`, `"200"`, 1), restarting)) })
	_, err := c.Run(contextFor(t, 30*time.Second), change)
	expect(t, err, hook.Deadline, "the operator says: "+restarting)
	if diff := cmp.Diff(object(t, moreConnections).Object["spec"],
		server.Object(clustersPath).Object["spec"]); diff != "" {
		t.Errorf("the Cluster (-want +got):\n%s", diff)
	}
}

// A pod that is stopped in the middle is replaced by one that continues.
func TestAChangeThatIsCutOffContinues(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, change, server, log := changing(t, serving, moreConnections)
	operate(t, server, func() {
		server.Put(withPhase(strings.Replace(serving, `"100"`, `"200"`, 1), restarting))
		awaitLog(t, log, "the operator says: "+restarting)
		cancel()
	})
	if _, err := c.Run(ctx, change); err == nil || hook.CodeOf(err) == hook.Refused {
		t.Fatalf("cut off: %v", err)
	}
	again, err := c.Cluster.Compare(contextFor(t, 10*time.Second), object(t, moreConnections))
	if err != nil || !again.Empty() {
		t.Fatalf("what is left to change: %q, %v", again, err)
	}
	healthy := make(chan struct{})
	go func() {
		defer close(healthy)
		awaitCount(t, log, "the operator says: "+restarting, 2)
		server.Put(strings.Replace(serving, `"100"`, `"200"`, 1))
	}()
	if said, err := c.Run(contextFor(t, 30*time.Second), again); err != nil || said != "" {
		t.Errorf("%q, %v", said, err)
	}
	<-healthy
	// What does not settle is no reason against an upgrade that changes nothing of the database.
	server.Put(withPhase(strings.Replace(serving, `"100"`, `"200"`, 1), restarting))
	again, err = c.Cluster.Compare(contextFor(t, 10*time.Second), object(t, moreConnections))
	if err != nil {
		t.Fatal(err)
	}
	c.Patience = 3 * time.Second
	if _, err := c.Run(contextFor(t, 30*time.Second), again); err != nil || !strings.Contains(log(),
		"the upgrade continues") {
		t.Errorf("%v\n%s", err, log())
	}
}

// reload has the server read its configuration with another max_connections than 50, which needs a restart, or with
// those 50, with which the test's server was started. So it was with the buffers.
func reload(t *testing.T, url, connections string) {
	t.Helper()
	pgtest.Exec(t, url, "ALTER SYSTEM SET shared_buffers = '16MB'")
	pgtest.Exec(t, url, "ALTER SYSTEM SET max_connections = "+connections)
	pgtest.Exec(t, url, "SELECT pg_reload_conf()")
}

func setConfig(t *testing.T, url, version string) {
	t.Helper()
	pgtest.Exec(t, url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET cnpg.config_sha256 = %L', "+
		"current_database(), '"+version+"'); END $$")
}

func awaitLog(t *testing.T, log func() string, words string) { awaitCount(t, log, words, 1) }

// awaitCount waits until the log has the words so often.
func awaitCount(t *testing.T, log func() string, words string, times int) {
	for end := time.Now().Add(15 * time.Second); strings.Count(log(), words) < times; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("the log never says %q:\n%s", words, log())
			return
		}
	}
}
