package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	cluster = `
apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: Namespace
metadata: {name: ws}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: ws}
---
apiVersion: v1
kind: Secret
metadata: {name: regcred, namespace: nap}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: e30=}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: example.com/files
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusters.postgresql.cnpg.io}
status: {conditions: [{type: Established, status: "True"}]}
`
	clusterManifest = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}}
`
	claimManifest = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: afs-shared-storage, namespace: ws}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 50Gi}}}
`
	claimPath  = "/api/v1/namespaces/ws/persistentvolumeclaims/afs-shared-storage"
	configPath = "/api/v1/namespaces/nap/configmaps/nap-storage"
	secretPath = "/api/v1/namespaces/ws/secrets/regcred"
	saPath     = "/api/v1/namespaces/ws/serviceaccounts/default"
	pgPath     = "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg"
)

// world is a cluster and a database that bootstrap can work on.
type world struct {
	server *kubetest.Server
	dsn    string
	dir    string
	log    *bytes.Buffer
	spec   hook.BootstrapSpec
	key    string
	jobs   jobrun.Jobs

	families egress.Families
	// summary is of the last run.
	summary string
}

func newWorld(t *testing.T, objects string) *world {
	t.Helper()
	w := &world{server: kubetest.New(t, objects), dsn: pgtest.Start(t), dir: t.TempDir(), log: &bytes.Buffer{}}
	w.write(t, "cluster.yaml", clusterManifest)
	w.write(t, "claim.yaml", claimManifest)
	w.write(t, "control-plane/001_first.sql", "CREATE TABLE first (id int);")
	w.spec = hook.BootstrapSpec{
		Namespace:   "nap",
		Release:     "neutree",
		Set:         "a-set",
		Labels:      map[string]string{"team": "platform"},
		Database:    hook.BootstrapDatabase{Mode: "cnpg", Cluster: "nap-pg", Manifest: filepath.Join(w.dir, "cluster.yaml")},
		SharedClaim: hook.SharedClaim{Manifest: filepath.Join(w.dir, "claim.yaml")},
		Workspaces:  hook.BootstrapWorkspaces{Namespace: "ws", PullSecrets: []string{"regcred"}},
		Storage: hook.BootstrapStorage{ConfigMap: "nap-storage", Classes: []hook.StorageClass{
			{Key: "workspaces", AccessMode: "ReadWriteOnce", Value: "global.workspaces.storageClass"},
		}},
		Migrations: []hook.Migration{{Source: "control-plane", Dir: filepath.Join(w.dir, "control-plane")}},
	}
	return w
}

func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) run(ctx context.Context) error {
	b := &Bootstrap{Log: slog.New(slog.NewTextHandler(w.log, nil)), Client: w.server.Client(), Spec: w.spec,
		DatabaseURL: w.dsn, CredentialKey: w.key, Jobs: w.jobs, ResolvConf: filepath.Join(w.dir, "resolv.conf"),
		Families: w.families}
	result, err := b.Run(ctx)
	w.summary = b.Summary(result)
	return err
}

func (w *world) mustRun(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.run(ctx); err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
}

// state is everything that bootstrap brings about.
func (w *world) state(t *testing.T) map[string]any {
	t.Helper()
	state := map[string]any{}
	for _, at := range []string{claimPath, configPath, secretPath, saPath, pgPath} {
		object := w.server.Object(at)
		if object == nil {
			t.Fatalf("%s does not exist", at)
		}
		state[at] = object.Object
	}
	conn, err := pgx.Connect(context.Background(), w.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var sets, tables int
	err = conn.QueryRow(context.Background(), `SELECT (SELECT count(*) FROM neutree.migration_sets WHERE set_hash = 'a-set'),
		(SELECT count(*) FROM pg_tables WHERE tablename = 'first')`).Scan(&sets, &tables)
	if err != nil {
		t.Fatal(err)
	}
	state["database"] = fmt.Sprintf("%d sets, %d tables", sets, tables)
	return state
}

func TestRun(t *testing.T) {
	w := newWorld(t, cluster)
	w.mustRun(t)
	managed := map[string]any{"app.kubernetes.io/managed-by": "nap-hooks", "team": "platform"}
	want := map[string]any{
		claimPath: map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolumeClaim",
			"metadata": map[string]any{"name": "afs-shared-storage", "namespace": "ws"},
			"spec": map[string]any{
				"accessModes":      []any{"ReadWriteMany"},
				"resources":        map[string]any{"requests": map[string]any{"storage": "50Gi"}},
				"storageClassName": "standard",
			},
		},
		configPath: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "nap-storage", "namespace": "nap", "labels": managed},
			"data":     map[string]any{"workspaces": "standard"},
		},
		secretPath: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
			"metadata": map[string]any{"name": "regcred", "namespace": "ws", "labels": managed},
			"data":     map[string]any{".dockerconfigjson": "e30="},
		},
		saPath: map[string]any{
			"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
			"metadata": map[string]any{"name": "default", "namespace": "ws"},
		},
		pgPath: map[string]any{
			"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
			"metadata": map[string]any{"name": "nap-pg", "namespace": "nap", "annotations": map[string]any{"cnpg.io/hibernation": "off"}},
			"spec":     map[string]any{"instances": int64(1), "imageName": "pg:17.10", "storage": map[string]any{"size": "10Gi"}},
		},
		"database": "1 sets, 1 tables",
	}
	if diff := cmp.Diff(want, w.state(t)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	w.mustRun(t)
	if diff := cmp.Diff(want, w.state(t)); diff != "" {
		t.Errorf("a second run changed something (-want +got):\n%s", diff)
	}
}

func TestKilledAtEachChange(t *testing.T) {
	whole := newWorld(t, cluster)
	whole.mustRun(t)
	want := whole.state(t)
	changes := len(whole.server.Changes())
	if changes < 6 {
		t.Fatalf("only %d changes were seen", changes)
	}
	for n := 1; n <= changes; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, cluster)
			ctx, kill := context.WithCancel(context.Background())
			defer kill()
			w.server.OnChange(func(number int) {
				if number == n {
					kill()
				}
			})
			if err := w.run(ctx); err == nil {
				t.Fatal("the run was not cut off")
			}
			w.server.OnChange(nil)
			w.mustRun(t)
			if diff := cmp.Diff(want, w.state(t)); diff != "" {
				t.Errorf("state after the second run (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t, cluster)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			b := &Bootstrap{Log: slog.New(slog.DiscardHandler), Client: w.server.Client(), Spec: w.spec, DatabaseURL: w.dsn, CredentialKey: w.key}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, errs[i] = b.Run(ctx)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := w.state(t)["database"]; got != "1 sets, 1 tables" {
		t.Errorf("database: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects string
		change  func(*hook.BootstrapSpec)
		code    hook.Code
		want    string
	}{
		{
			name: "pull secret missing", objects: cluster,
			change: func(s *hook.BootstrapSpec) { s.Workspaces.PullSecrets = []string{"gone"} },
			code:   hook.Refused, want: "global.imagePullSecrets names gone, but there is no such Secret in namespace nap: create it there or remove the name",
		},
		{
			name: "class of the workspaces missing", objects: cluster,
			change: func(s *hook.BootstrapSpec) { s.Storage.Classes[0].Name = "fast" },
			code:   hook.Refused, want: `StorageClass "fast" for the workspaces' volumes does not exist: set global.workspaces.storageClass to one of standard (example.com/files)`,
		},
		{
			name: "no class for ReadWriteMany", objects: strings.Replace(cluster, "example.com/files", "rancher.io/local-path", 1),
			code: hook.Refused, want: `the volume that all workspaces share needs a StorageClass that serves ReadWriteMany, and the default class "standard" (rancher.io/local-path) serves one node only: set global.storage.shared.storageClass`,
		},
		{
			name: "workspace namespace missing", objects: strings.Replace(cluster, "{name: default, namespace: ws}", "{name: other, namespace: ws}", 1),
			code: hook.Deadline, want: "gave up waiting for ServiceAccount ws/default after",
		},
		{
			name: "mode unknown", objects: cluster,
			change: func(s *hook.BootstrapSpec) { s.Database.Mode = "mysql" },
			code:   hook.Usage, want: `spec: database.mode is "mysql", neither cnpg nor external`,
		},
		{
			name: "no set", objects: cluster,
			change: func(s *hook.BootstrapSpec) { s.Set = "" },
			code:   hook.Usage, want: `spec: set or migrations is empty`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.objects)
			if tc.change != nil {
				tc.change(&w.spec)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			err := w.run(ctx)
			if hook.CodeOf(err) != tc.code || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("exit code %d, want %d\n%v\nlacks\n%s", hook.CodeOf(err), tc.code, err, tc.want)
			}
		})
	}
}

func TestExternalDatabase(t *testing.T) {
	w := newWorld(t, cluster)
	w.server.Delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io")
	w.spec.Database = hook.BootstrapDatabase{Mode: "external", External: &hook.ExternalDatabase{Connections: 10}}
	w.mustRun(t)
	if w.server.Object(pgPath) != nil {
		t.Error("a Cluster was made")
	}
}
