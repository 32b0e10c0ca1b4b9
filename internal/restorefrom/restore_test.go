package restorefrom_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorefrom/restorefromtest"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

const (
	secretPath    = "/api/v1/namespaces/nap/secrets/nap-cp-secret"
	napNamespace  = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}"
	workspacesPVC = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: nap-workspaces}`
)

// Into a cluster that has nothing.
func TestRestoreIntoAnEmptyCluster(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p)
	r := c.restore("latest")
	steps, err := r.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if changes := c.Changes(); len(changes) > 0 {
		t.Errorf("preparing it changed %v", changes)
	}
	var said strings.Builder
	if err := steps.Write(&said); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Restore of backup b1 as release neutree in namespace nap:", "  create namespace nap",
		"  create Secret nap-cp-secret", "  create Secret ldap-bind", "  install release neutree from chart ",
		"  copy backup b1 into the PVC of backups",
		"shared files: PVC afs-shared-storage in namespace nap-workspaces is missing, and is created empty",
		"files of workspaces: 0 PVCs tos-<workspace>-workspace are in namespace nap-workspaces"} {
		if !strings.Contains(said.String(), line) {
			t.Errorf("the plan does not say %q:\n%s", line, said.String())
		}
	}
	if strings.Contains(said.String(), "save what the databases contain now") {
		t.Error("it saves databases that are empty")
	}
	if got := strings.TrimSpace(string(steps.Values)); got != "global:\n  host: nap.example.com" {
		t.Errorf("it installs with\n%s", got)
	}
	if missing := strings.Join(steps.Files.Missing(), "\n"); !strings.Contains(missing, "PVC afs-shared-storage in namespace "+
		"nap-workspaces was created empty") || !strings.Contains(missing, "create those that are missing") {
		t.Errorf("it says of users' files:\n%s", missing)
	}
	result, err := r.Run(t.Context(), steps)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.said.String())
	}
	if result != "done" {
		t.Errorf("it says %q", result)
	}
	want := []string{"upgrade", "--install", "neutree", p.Chart, "--namespace", "nap", "--values", "-", "--wait", "--timeout", "15m0s"}
	if len(c.installed) != 1 || !slices.Equal(c.installed[0], want) || c.values != string(steps.Values) {
		t.Errorf("Helm ran %q with %q", c.installed, c.values)
	}
	if !slices.Equal(c.received, []string{"/neutree/nap-hooks backup receive --name=b1"}) {
		t.Errorf("the pod ran %v", c.received)
	}
	secret := c.Object(secretPath)
	if secret == nil || secret.GetLabels()["app.kubernetes.io/managed-by"] != "nap-hooks" ||
		secret.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
		t.Errorf("the Secret is %v", secret)
	}
	if given := c.Object("/api/v1/namespaces/nap/secrets/ldap-bind"); given == nil || len(given.GetLabels()) > 0 {
		t.Errorf("a Secret that the user gave becomes the chart's: %v", given)
	}
	if made := c.jobs(); !slices.Equal(made, []string{"nap-backup-copy", "nap-restore-check", "nap-restore"}) {
		t.Errorf("it ran %v", made)
	}
	// Nothing that decrypts, and no Secret's value, is in what was said.
	for _, secret := range []string{"AGE-SECRET-KEY", restorefromtest.EncryptionKey, "a jwt secret"} {
		if strings.Contains(c.said.String()+said.String(), secret) {
			t.Errorf("it says %q", secret)
		}
	}
	c.wantNoIdentity()
}

// jobs are the Jobs that were made, without what makes their names their own.
func (c *cluster) jobs() []string {
	var names []string
	for _, made := range c.Changes() {
		if made.Method == "POST" && strings.HasSuffix(made.Path, "/jobs") {
			name := (&unstructured.Unstructured{Object: made.Body}).GetName()
			for _, what := range []string{"-copy", "-check", "-before-restore"} {
				if before, _, found := strings.Cut(name, what); found {
					name = before + what
				}
			}
			names = append(names, name)
		}
	}
	return names
}

// wantNoIdentity asserts that the key did not reach the cluster.
func (c *cluster) wantNoIdentity() {
	c.t.Helper()
	raw, err := json.Marshal(c.Changes())
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.Contains(string(raw)+c.values, c.place.Identity.String()) {
		c.t.Error("the private key reached the cluster")
	}
}

// The same call continues wherever the one before was stopped.
func TestRestoreIsRepeated(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p)
	c.helmFails = []error{errCut}
	_, err := c.run(c.restore("b1"))
	wantFailure(t, err, hook.Unexpected, "install release neutree in namespace nap", "the same command continues")
	c.execFails = []error{errCut}
	_, err = c.run(c.restore("b1"))
	wantFailure(t, err, hook.Unexpected, "copy backup b1 into the cluster", errCut.Error())
	if _, err := c.run(c.restore("b1")); err != nil {
		t.Fatalf("%v\n%s", err, c.said.String())
	}
	if len(c.installed) != 2 || len(c.received) != 1 {
		t.Errorf("it was installed %d times and received %d times", len(c.installed), len(c.received))
	}
	secrets := 0
	for _, made := range c.Changes() {
		if made.Method == "POST" && strings.HasSuffix(made.Path, "/secrets") {
			secrets++
		}
	}
	if secrets != 2 {
		t.Errorf("Secrets were created %d times, not 2", secrets)
	}
}

// Where something is there already, it is saved first.
func TestRestoreOverARelease(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p, napNamespace, plan, service, record(t, "deployed", p.Version),
		"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: nap-pg-1, namespace: nap}",
		fmt.Sprintf(workspacesPVC, "afs-shared-storage"), fmt.Sprintf(workspacesPVC, "tos-1-workspace"))
	if _, err := c.run(c.restore("b1")); err != nil {
		t.Fatalf("%v\n%s", err, c.said.String())
	}
	if len(c.installed) > 0 {
		t.Error("it is installed again")
	}
	want := []string{"nap-backup-copy", "nap-restore-check", "nap-backup-before-restore", "nap-restore"}
	if made := c.jobs(); !slices.Equal(made, want) {
		t.Errorf("it ran %v, want %v", made, want)
	}
	steps, err := c.restore("b1").Prepare(t.Context())
	if err != nil || !steps.Files.SharedThere || steps.Files.Workspaces != 1 || len(steps.Files.Missing()) != 1 {
		t.Errorf("%v: %+v", err, steps.Files)
	}
}

func TestRestoreRefuses(t *testing.T) {
	other := `apiVersion: v1
kind: Secret
metadata: {name: nap-cp-secret, namespace: nap}
data: {JWT_SECRET: b3RoZXI=}`
	for name, tc := range map[string]struct {
		objects func(*restorefromtest.Place) []string
		change  func(*backup.Metadata)
		want    []string
	}{
		"another Secret": {objects: func(*restorefromtest.Place) []string { return []string{other} }, want: []string{
			"Secret nap-cp-secret in namespace nap has another value of CREDENTIAL_ENCRYPTION_KEY, JWT_SECRET than the backup's",
			"[backup.other-secret]"}},
		"an older release": {objects: func(p *restorefromtest.Place) []string { return []string{plan, record(t, "deployed", "0.0.1")} },
			want: []string{"release neutree in namespace nap is of chart 0.0.1, which is older", "[backup.newer]"}},
		"a Helm client at work": {objects: func(p *restorefromtest.Place) []string { return []string{record(t, "pending-install", p.Version)} },
			want: []string{"is pending-install: a Helm client works on it", "helm neutree recover neutree --namespace nap",
				"[backup.install]"}},
		"another key than the saved one": {change: func(m *backup.Metadata) { m.Key = restorefromtest.KeyRecord("an older key") },
			want: []string{"encrypted with another key than the one that was saved with it", "[backup.key]"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := restorefromtest.New(t)
			change := tc.change
			if change == nil {
				change = func(*backup.Metadata) {}
			}
			p.Copy(neutree, "b1", noon, change)
			objects := []string{napNamespace}
			if tc.objects != nil {
				objects = append(objects, tc.objects(p)...)
			}
			c := newCluster(t, p, objects...)
			_, err := c.run(c.restore("b1"))
			wantFailure(t, err, hook.Refused, tc.want...)
			if changes := c.Changes(); len(changes) > 0 {
				t.Errorf("it changed %v", changes)
			}
			for _, secret := range []string{restorefromtest.EncryptionKey, "a jwt secret", "b3RoZXI=", "other\n"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message has the value of a Secret: %v", err)
				}
			}
		})
	}
	// The Job that restores compares the schemas.
	for name, tc := range map[string]struct {
		change func(*backup.Metadata)
		allow  bool
	}{
		"an older release, allowed":                       {func(*backup.Metadata) {}, true},
		"the release that a backup before an upgrade has": {func(m *backup.Metadata) { m.Kind = backup.Upgrade }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := restorefromtest.New(t)
			p.Copy(neutree, "b1", noon, tc.change)
			c := newCluster(t, p, napNamespace, plan, service, record(t, "deployed", "0.0.1"))
			r := c.restore("b1")
			r.AllowNewer = tc.allow
			if _, err := c.run(r); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("unless they are kept", func(t *testing.T) {
		p := restorefromtest.New(t)
		p.Copy(neutree, "b1", noon)
		c := newCluster(t, p, napNamespace, other)
		r := c.restore("b1")
		r.KeepSecrets = true
		if _, err := c.run(r); err != nil {
			t.Fatal(err)
		}
		data, _, _ := unstructured.NestedStringMap(c.Object(secretPath).Object, "data")
		if !maps.Equal(data, map[string]string{"JWT_SECRET": "b3RoZXI="}) {
			t.Errorf("the Secret is changed: %v", data)
		}
	})
	t.Run("the values of another chart", func(t *testing.T) {
		p := restorefromtest.New(t)
		p.Escrow.Chart = "9.9.9"
		p.Copy(neutree, "b1", noon)
		c := newCluster(t, p)
		_, err := c.run(c.restore("b1"))
		wantFailure(t, err, hook.Refused, "the values that were saved are those of chart 9.9.9", "is chart "+p.Version,
			"name chart 9.9.9 with --chart and --version", "[backup.install]")
		r := c.restore("b1")
		r.Values = []byte("global: {host: other.example.com}\n")
		if _, err := c.run(r); err != nil || c.values != string(r.Values) {
			t.Errorf("with values of the person's own: %v, %q", err, c.values)
		}
	})
}

// What the copies of the restored release need is named before the install.
func TestRestoreNamesWhatTheCopiesNeed(t *testing.T) {
	p := restorefromtest.New(t, `global: {host: nap.example.com, backup: {s3: {endpoint: "https://s3.example.com", bucket: backups, `+
		`existingSecret: s3-key}, offsite: {recipients: [age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg]}}}`)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p)
	_, err := c.run(c.restore("b1"))
	wantFailure(t, err, hook.Refused, "namespace nap has no Secret s3-key, which global.backup.s3.existingSecret names",
		"create the namespace and the Secret", "[backup.install]")
	if changes := c.Changes(); len(changes) > 0 {
		t.Errorf("it changed %v", changes)
	}
	c.Put(napNamespace)
	c.Put("apiVersion: v1\nkind: Secret\nmetadata: {name: s3-key, namespace: nap}")
	if _, err := c.run(c.restore("b1")); err != nil {
		t.Error(err)
	}
}

// Something else installs the release once the Secrets are there.
func TestNoInstall(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p)
	r := c.restore("b1")
	r.NoInstall = true
	steps, err := r.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := steps.Write(&said); err != nil || !strings.Contains(said.String(), "--no-install leaves that to you") {
		t.Errorf("%v: %s", err, said.String())
	}
	_, err = r.Run(t.Context(), steps)
	wantFailure(t, err, hook.Refused, "release neutree is not installed in namespace nap; its Secrets are there now", "[backup.install]")
	if c.Object(secretPath) == nil || len(c.installed) > 0 {
		t.Error("the Secret is not there, or the release was installed")
	}
	// As ArgoCD does, which keeps no record.
	c.Put(plan)
	c.Put(service)
	if _, err := c.run(r); err != nil {
		t.Fatal(err)
	}
	if len(c.installed) > 0 || len(c.received) != 1 {
		t.Errorf("installed %d times, received %d times", len(c.installed), len(c.received))
	}
}

// A restore that did not end is finished by the same call.
func TestRestoreThatDidNotEnd(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	note, err := json.Marshal(restorenote.Note{Backup: "b2", Phase: restorenote.Restoring, ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, p, napNamespace, plan, service, record(t, "deployed", p.Version), fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {%s: %q}`, restorenote.Key, note))
	_, err = c.run(c.restore("b1"))
	wantFailure(t, err, hook.Refused, "[backup.unfinished-restore]")
}

// In another namespace, values that name the old one are said.
func TestValuesThatNameTheNamespace(t *testing.T) {
	p := restorefromtest.New(t, `global: {host: nap.example.com, networkPolicies: {usersFrom: [{namespaceSelector: {matchLabels: {`+
		`kubernetes.io/metadata.name: nap}}}]}, workspaces: {namespace: nap-users}}`)
	p.Copy(neutree, "b1", noon)
	c := newCluster(t, p)
	r := c.restore("b1")
	r.Namespace = "second"
	steps, err := r.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := steps.Write(&said); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"global.workspaces.namespace=nap-users", "kubernetes.io/metadata.name=nap",
		"in namespace nap-users is missing"} {
		if !strings.Contains(said.String(), line) {
			t.Errorf("the plan does not say %q:\n%s", line, said.String())
		}
	}
}

// A part that is cut off or missing ends the restore before the cluster has a backup.
func TestRestoreOfADamagedCopy(t *testing.T) {
	for name, spoil := range map[string]func(p *restorefromtest.Place, key string) error{
		"a part is missing": func(p *restorefromtest.Place, key string) error { return p.Store.Delete(t.Context(), key) },
		"a part is cut off": func(p *restorefromtest.Place, key string) error {
			content, err := p.Store.Get(t.Context(), key, 1<<20)
			if err != nil {
				return err
			}
			return p.Store.Put(t.Context(), key, content[:len(content)-1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := restorefromtest.New(t)
			p.Copy(neutree, "b1", noon)
			c := newCluster(t, p, napNamespace, plan, service, record(t, "deployed", p.Version))
			r := c.restore("b1")
			if err := spoil(p, p.LastPart()); err != nil {
				t.Fatal(err)
			}
			_, err := c.run(r)
			wantFailure(t, err, hook.Refused, "the copy of backup b1 in", "is damaged", "[offsite.damaged]")
			if len(c.received) > 0 || slices.Contains(c.jobs(), "nap-restore") {
				t.Errorf("it was received %v, and ran %v", c.received, c.jobs())
			}
		})
	}
}
