package upgrade

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

const (
	installation = `apiVersion: v1
kind: ConfigMap
metadata: {name: neutree-installation, namespace: nap, labels: {helm.sh/chart: neutree-0.1.0}}
data: {release: neutree, namePrefix: nap, workspaceNamespace: nap-workspaces, databaseMode: cnpg, databaseName: nap, databaseUser: nap, keysSecret: nap-cp-secret}
`
	ours = `apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
spec: {imageName: "registry.test/postgresql:16.1", storage: {size: 10Gi}, postgresql: {pg_hba: [hostnossl all all all reject]}}
`
	// of010 is a Cluster that version 0.1.0 created.
	of010 = `apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
spec: {imageName: "registry.test/postgresql:16.1", storage: {size: 10Gi}}
`
	// service reads the address of the database under a key.
	service = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {template: {spec: {containers: [{name: cp, env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: nap-database, key: KEY}}}]}]}}}
`
)

const sharedVolume = `apiVersion: v1
kind: PersistentVolume
metadata: {name: nap-nap-shared}
spec: {nfs: {server: 10.0.0.5, path: /exports/nap}}
status: {phase: Bound}
`

func TestApplies(t *testing.T) {
	if ok, why := installed(&preflight.Subject{}); ok || why == "" {
		t.Errorf("before an install: %v %q", ok, why)
	}
	if ok, _ := installed(&preflight.Subject{Options: preflight.Options{Upgrade: true}}); !ok {
		t.Error("it does not apply to an upgrade")
	}
}

// The rules are those of the hook before an upgrade, on what the chart really tells it.
func TestPath(t *testing.T) {
	for _, tc := range []struct {
		name    string
		set     []string
		objects []string
		words   []string
	}{
		{name: "nothing to compare with"},
		{name: "the same again", objects: []string{installation, ours}},
		{name: "a larger volume", objects: []string{installation, ours}, set: []string{"global.database.cnpg.storage.size=20Gi"}},
		{name: "other names", objects: []string{installation, ours},
			set: []string{"global.namePrefix=acme", "global.workspaces.namespace=elsewhere"},
			words: []string{
				`global.namePrefix was "nap" when the release was installed and would become "acme" -> restore the old value`,
				`global.workspaces.namespace was "nap-workspaces" when the release was installed and would become "elsewhere"`,
				"global.secrets.existingSecret would replace Secret nap-cp-secret by acme-cp-secret",
			}},
		{name: "a smaller volume and an older major version",
			objects: []string{installation, strings.NewReplacer("10Gi", "20Gi", "16.1", "18.1").Replace(ours)},
			words: []string{
				"spec.storage.size stays 20Gi, not 10Gi: a volume can't shrink -> fix the values below global.database",
				"the data was written by major version 18 and an older one can't read it",
			}},
		{name: "what someone decided", objects: []string{installation, strings.ReplaceAll(ours, "10Gi", "20Gi")},
			set: []string{"global.upgrade.allowKeptValues=true"}},
		{name: "another release", objects: []string{strings.ReplaceAll(installation, "release: neutree", "release: other")},
			words: []string{"namespace nap holds release other already, and two releases can't share one -> upgrade that one"}},
		{name: "the file server moved", objects: []string{installation, ours, sharedVolume},
			set: []string{"global.storage.shared.nfs.server=10.0.0.6", "global.storage.shared.nfs.path=/exports/nap"},
			words: []string{"the volume that all workspaces share is NFS export 10.0.0.5:/exports/nap (PersistentVolume " +
				"nap-nap-shared) and would become NFS export 10.0.0.6:/exports/nap"}},
		{name: "the file server is where it was", objects: []string{installation, ours, sharedVolume},
			set: []string{"global.storage.shared.nfs.server=10.0.0.5", "global.storage.shared.nfs.path=/exports/nap"}},
		{name: "no service needs plaintext", objects: []string{installation, of010, strings.ReplaceAll(service, "KEY", "tls-url")},
			words: []string{"warning: PostgreSQL admits connections without TLS, which only services of version 0.1.0 use -> once no " +
				"rollback to version 0.1.0 is wanted, upgrade with global.database.cnpg.requireTLS=always"}},
		{name: "services of 0.1.0", objects: []string{installation, of010, strings.ReplaceAll(service, "KEY", "url")}},
		{name: "plaintext is wanted", objects: []string{installation, of010}, set: []string{"global.database.cnpg.requireTLS=never"}},
		{name: "an older chart", objects: []string{strings.ReplaceAll(installation, "neutree-0.1.0", "neutree-99.0.0_build"), ours},
			words: []string{"warning: chart neutree 0.2.0-dev.0 is older than 99.0.0+build, which is installed -> take chart 99.0.0+build or newer, or go back to a revision that ran: helm rollback neutree REVISION --namespace nap"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subject := checktest.Subject(t, kubetest.New(t, tc.objects...), requirementtest.Load(t, tc.set...))
			findings := checktest.Run(t, Checks(), "upgrade.path", subject)
			checktest.Want(t, findings, tc.words...)
			for _, finding := range findings {
				if finding.Severity == preflight.Unset && finding.Value == "" && tc.name != "another release" {
					t.Errorf("it names no value: %+v", finding)
				}
			}
		})
	}
}
