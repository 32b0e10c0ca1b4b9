package database

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const (
	namespace = `
apiVersion: v1
kind: Namespace
metadata: {name: nap}
`
	defaultClass = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: example.com/disks
`
	crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clusters.postgresql.cnpg.io}
`
	established = crd + `status: {conditions: [{type: NamesAccepted, status: "True"}, {type: Established, status: "True"}]}
`
	manifest = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg}
spec: {instances: 1, imageName: "pg:17.10", storage: {size: 10Gi}}
`
	clustersPath = "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg"
	crdPath      = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io"
)

// setup gives a Cluster on a double that holds the objects, and what it logs.
func setup(t *testing.T, objects ...string) (*Cluster, *kubetest.Server, *bytes.Buffer) {
	t.Helper()
	server := kubetest.New(t, append(objects, namespace)...)
	var log bytes.Buffer
	return New(slog.New(slog.NewTextHandler(&log, nil)), server.Client(), "nap", "nap-pg"), server, &log
}

func contextFor(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// expect checks the exit code and that the message holds the words.
func expect(t *testing.T, err error, code hook.Code, words ...string) {
	t.Helper()
	if got := hook.CodeOf(err); got != code {
		t.Errorf("exit code %d, want %d: %v", got, code, err)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error\n%v\nlacks\n%s", err, word)
		}
	}
}

func TestWaitForCRD(t *testing.T) {
	t.Run("appears", func(t *testing.T) {
		c, server, _ := setup(t)
		go func() {
			server.Put(crd)
			server.Put(established)
		}()
		if err := c.WaitForCRD(contextFor(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
	})
	t.Run("never appears", func(t *testing.T) {
		c, _, _ := setup(t)
		expect(t, c.WaitForCRD(contextFor(t, 200*time.Millisecond)), hook.Deadline,
			"gave up waiting for the CRD clusters.postgresql.cnpg.io after", "it does not exist: the CloudNativePG operator must be installed with this release (cloudnative-pg.enabled=true) or be in the cluster already")
	})
	t.Run("is not served", func(t *testing.T) {
		c, _, _ := setup(t, crd)
		expect(t, c.WaitForCRD(contextFor(t, 200*time.Millisecond)), hook.Deadline, "the API server does not serve it yet")
	})
	t.Run("may not be read", func(t *testing.T) {
		c, server, _ := setup(t)
		server.Refuse(-1, "GET", crdPath, kubetest.Status(403, metav1.StatusReasonForbidden,
			`customresourcedefinitions.apiextensions.k8s.io "clusters.postgresql.cnpg.io" is forbidden: User "b" cannot get resource "customresourcedefinitions" in API group "apiextensions.k8s.io" at the cluster scope`))
		expect(t, c.WaitForCRD(contextFor(t, 10*time.Second)), hook.Refused, "b may not get customresourcedefinitions.apiextensions.k8s.io in the whole cluster")
	})
}

func TestApply(t *testing.T) {
	c, server, log := setup(t, defaultClass)
	server.Refuse(2, "PATCH", clustersPath, kubetest.Status(500, metav1.StatusReasonInternalError,
		`Internal error occurred: failed calling webhook "mcluster.cnpg.io": failed to call webhook: Post "https://x": no endpoints available for service "cnpg-webhook-service"`))
	if err := c.Apply(contextFor(t, 10*time.Second), object(t, manifest)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "its webhook does not answer") {
		t.Errorf("the log does not say what was waited for:\n%s", log)
	}
	live := server.Object(clustersPath)
	if live.GetAnnotations()["cnpg.io/hibernation"] != "off" {
		t.Errorf("annotations %v: the Cluster is not kept awake", live.GetAnnotations())
	}
	if first := server.Changes()[0]; !first.DryRun {
		t.Error("the Cluster was not tried in a dry run first")
	}
}

// A Cluster of version 0.1.0 keeps admitting plaintext, and each run says so, until a value forbids it.
func TestApplySaysThatPlaintextStays(t *testing.T) {
	const strict = "postgresql: {pg_hba: [hostnossl all all all reject]}"
	live := strings.Replace(manifest, "metadata: {", "metadata: {namespace: nap, ", 1)
	auto := strings.Replace(manifest, "metadata: {", "metadata: {annotations: {neutree.ai/require-tls: auto}, ", 1)
	closed := strings.Replace(auto, "spec: {", "spec: {"+strict+", ", 1)
	for name, tc := range map[string]struct {
		live, desired string
		said          bool
	}{
		"made by 0.1.0":    {live, closed, true},
		"made by this one": {strings.Replace(live, "spec: {", "spec: {"+strict+", ", 1), closed, false},
		"forbidden":        {live, strings.Replace(closed, "auto", "always", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, log := setup(t, tc.live)
			if err := c.Apply(contextFor(t, 10*time.Second), object(t, tc.desired)); err != nil {
				t.Fatal(err)
			}
			for _, words := range []string{"admits connections without TLS", "global.database.cnpg.requireTLS=always"} {
				if got := strings.Contains(log.String(), words); got != tc.said {
					t.Errorf("the log says %q: %t, want %t\n%s", words, got, tc.said, log)
				}
			}
		})
	}
}

func TestApplyKeepsLive(t *testing.T) {
	c, server, log := setup(t, `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: "on"}}
spec: {instances: 3, imageName: "pg:18.1", storage: {size: 20Gi}}
`)
	if err := c.Apply(contextFor(t, 10*time.Second), object(t, manifest)); err != nil {
		t.Fatal(err)
	}
	want := object(t, `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap, annotations: {cnpg.io/hibernation: "off", neutree.ai/unexamined: "true"}}
spec: {instances: 1, imageName: "pg:18.1", storage: {size: 20Gi}}
`)
	if got := server.Object(clustersPath); !equal(got.Object, want.Object) {
		t.Errorf("got %v\nwant %v", got.Object, want.Object)
	}
	for _, line := range []string{"spec.storage.size stays 20Gi, not 10Gi", "the PostgreSQL image stays pg:18.1, not pg:17.10"} {
		if strings.Count(log.String(), line) != 1 {
			t.Errorf("the log should say once %q:\n%s", line, log)
		}
	}
}

func TestApplyRefused(t *testing.T) {
	const denied = `admission webhook "vcluster.cnpg.io" denied the request: Cluster.postgresql.cnpg.io "nap-pg" is invalid: spec.postgresql.parameters: too small`
	for _, tc := range []struct {
		name     string
		objects  string
		manifest string
		refusal  metav1.Status
		code     hook.Code
		want     string
	}{
		{
			name: "by the webhook", objects: defaultClass, manifest: manifest,
			refusal: kubetest.Status(403, metav1.StatusReasonForbidden, denied),
			code:    hook.Refused,
			want: "the CloudNativePG operator refuses Cluster nap-pg (" + denied + "): " +
				"fix the values below global.database [cnpg.webhook]",
		},
		{
			name: "by RBAC", objects: defaultClass, manifest: manifest,
			refusal: kubetest.Status(403, metav1.StatusReasonForbidden, `clusters.postgresql.cnpg.io "nap-pg" is forbidden: User "b" cannot patch resource "clusters" in API group "postgresql.cnpg.io" in the namespace "nap"`),
			code:    hook.Refused, want: "b may not patch clusters.postgresql.cnpg.io in namespace nap",
		},
		{
			name: "no class", manifest: manifest,
			code: hook.Refused, want: "PostgreSQL needs a StorageClass and the cluster has none: install a storage provisioner, then set global.database.cnpg.storage.storageClass",
		},
		{
			name: "another manifest", manifest: "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
			code: hook.Usage, want: "the manifest holds Pod x, not Cluster nap-pg",
		},
		{
			name: "being deleted", manifest: manifest,
			objects: "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap, deletionTimestamp: '2026-01-01T00:00:00Z'}\n",
			code:    hook.Deadline, want: "the Cluster of before is still being deleted",
		},
		{
			name: "operator that can't start", manifest: manifest,
			objects: defaultClass + "---\n" + `
apiVersion: v1
kind: Pod
metadata: {name: operator-1, namespace: nap, labels: {app.kubernetes.io/name: cloudnative-pg}}
status: {phase: Pending, containerStatuses: [{name: manager, image: "ghcr.io/op:1", state: {waiting: {reason: ImagePullBackOff, message: "Back-off pulling image"}}}]}
`,
			refusal: kubetest.Status(500, metav1.StatusReasonInternalError, `failed calling webhook "mcluster.cnpg.io": connection refused`),
			code:    hook.Deadline, want: "its webhook does not answer: pod operator-1 does not start: ImagePullBackOff of ghcr.io/op:1: Back-off pulling image",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, server, _ := setup(t, tc.objects)
			if tc.refusal.Code != 0 {
				server.Refuse(-1, "PATCH", clustersPath, tc.refusal)
			}
			expect(t, c.Apply(contextFor(t, 300*time.Millisecond), object(t, tc.manifest)), tc.code, tc.want)
		})
	}
}

func TestHibernate(t *testing.T) {
	pod := `
apiVersion: v1
kind: Pod
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg, cnpg.io/podRole: instance}}
`
	c, server, _ := setup(t, strings.Replace(manifest, "name: nap-pg", "name: nap-pg, namespace: nap, "+
		"annotations: {neutree.ai/stopped-services: '{}'}", 1), pod)
	exists, err := c.Hibernate(contextFor(t, 10*time.Second))
	if err != nil || !exists {
		t.Fatalf("exists %v, error %v", exists, err)
	}
	if got := server.Object(clustersPath).GetAnnotations(); got["cnpg.io/hibernation"] != "on" || len(got) != 1 {
		t.Errorf("annotations %v", got)
	}
	expect(t, c.WaitStopped(contextFor(t, 3*time.Second)), hook.Deadline, "gave up waiting for PostgreSQL to stop", "there is still nap-pg-1")
	server.Delete("/api/v1/namespaces/nap/pods/nap-pg-1")
	if err := c.WaitStopped(contextFor(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	server.Delete(clustersPath)
	if exists, err := c.Hibernate(contextFor(t, 10*time.Second)); err != nil || exists {
		t.Errorf("without a Cluster: exists %v, error %v", exists, err)
	}
}

func TestReadManifest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	got, err := ReadManifest(write("good.yaml", manifest))
	if err != nil || got.GetName() != "nap-pg" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = ReadManifest(filepath.Join(dir, "none.yaml"))
	expect(t, err, hook.Usage, "read the manifest: open", "none.yaml")
	_, err = ReadManifest(write("bad.yaml", "a: b: c"))
	expect(t, err, hook.Usage, "bad.yaml is no YAML")
	_, err = ReadManifest(write("empty.yaml", "kind: Cluster"))
	expect(t, err, hook.Usage, "empty.yaml names no kind or no metadata.name")
}
