//go:build e2e

package e2e

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// A release comes back into a cluster that has nothing of it, by one command, from a copy outside: the same rows, the
// same log-in, a credential that its key decrypts.
func TestBackupFromACopy(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	t.Setenv("HELM_BIN", r.helm)
	r.mustUpgrade(t, "--set", "global.backup.size=64Mi", "--wait")
	r.sql(t, "SET ROLE nap;"+rows)
	r.afsRows(t, "INSERT INTO dirs VALUES ('77aa', 'shared', '/data/afs/aa/77/77aa')")
	key := r.secretValue(t, "nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY")
	const decrypted = "SELECT pgp_sym_decrypt(secret, '%s') FROM public.user_credentials WHERE id = 'c1'"
	r.sql(t, "SET ROLE nap; UPDATE public.user_credentials SET secret = pgp_sym_encrypt('a token', '"+key+"') WHERE id = 'c1'")
	before, dirs, password := r.tables(t), r.afsRows(t), r.secretValue(t, "nap-admin", "password")

	name := strings.TrimSpace(r.plugin(t, 0, "", "backup", "create").stdout)
	dir := t.TempDir()
	pulled := r.plugin(t, 0, "", "backup", "pull", name, dir, "--plain")
	if got := strings.TrimSpace(pulled.stdout); got != filepath.Join(dir, name) {
		t.Fatalf("backup pull printed %q", got)
	}
	t.Logf("backup pull: %s", pulled.took)
	if jobs := r.copyJobs(t); len(jobs) > 0 {
		t.Errorf("pull leaves %v", jobs)
	}
	copies, identity := r.copyOutside(t, dir, name)

	// The cluster is gone.
	r.purge(t)
	listed := r.plugin(t, 0, "", "backup", "list", "--from", copies)
	wantSaid(t, pluginResult{stderr: listed.stdout}, name, "127_skill_content_storage")
	r.plugin(t, 0, "", "backup", "verify", "--from", copies, "--identity", identity)
	from := []string{"backup", "restore", "latest", "--from", copies, "--identity", identity, "--chart", r.chart, "--timeout", "10m"}
	dry := r.plugin(t, 0, "", append(from, "--dry-run")...)
	wantSaid(t, dry, "create namespace nap", "create Secret nap-cp-secret", "install release neutree")
	wantSaid(t, pluginResult{stderr: dry.stdout}, "size: 64Mi")
	got := r.plugin(t, 0, "", append(from, "--yes")...)
	t.Logf("backup restore --from: %s\n%s", got.took, got.stderr)
	wantSaid(t, got, "is restored in", "not restored: shared files: PVC afs-shared-storage in namespace nap-workspaces was created empty")

	if diff := cmp.Diff(before, r.tables(t)); diff != "" {
		t.Errorf("the database differs:\n%s", diff)
	}
	if diff := cmp.Diff(dirs, r.afsRows(t)); diff != "" {
		t.Errorf("AFS's database differs:\n%s", diff)
	}
	if now := r.secretValue(t, "nap-admin", "password"); now != password {
		t.Error("the administrator has another password")
	}
	r.login(t)
	if token := r.sql(t, strings.Replace(decrypted, "%s", r.secretValue(t, "nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY"), 1)); token != "a token" {
		t.Errorf("the credential is %q", token)
	}
	if jobs := r.copyJobs(t); len(jobs) > 0 {
		t.Errorf("the restore leaves %v", jobs)
	}
}

// copyJobs are the Jobs of copies that are there.
func (r *release) copyJobs(t testing.TB) []string {
	t.Helper()
	list, err := r.client.BatchV1().Jobs(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, job := range list.Items {
		if strings.Contains(job.Name, "-copy-") && job.DeletionTimestamp == nil {
			names = append(names, job.Name)
		}
	}
	return names
}

// copyOutside copies the backup called name in dir to a folder, with the Secrets and values that the release has. It
// returns the folder, and the file with the key that decrypts it.
func (r *release) copyOutside(t *testing.T, dir, name string) (copies, identity string) {
	t.Helper()
	client, err := kube.NewForConfig(r.config)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := secretplan.Find(t.Context(), client, r.namespace, r.name)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := backup.OpenFolder(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	escrow := offsite.Escrow{Format: offsite.Format, Time: time.Now(), Namespace: r.namespace, Release: r.name, Chart: folder.Chart,
		Revision: folder.Revision, Values: r.allValues(t)}
	for _, s := range plan.Secrets.Secrets {
		secret := offsite.EscrowSecret{Name: s.Name, Type: s.Type, Labels: s.Labels, Existing: s.Existing, Data: map[string][]byte{}}
		for key, spec := range s.Data {
			if !spec.Derived() {
				secret.Data[key] = []byte(r.secretValue(t, s.Name, key))
			}
		}
		if len(secret.Data) > 0 {
			escrow.Secrets = append(escrow.Secrets, secret)
		}
	}
	made, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := offsite.NewRecipients([]string{made.Recipient().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	copies, identity = t.TempDir(), filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(identity, []byte(made.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := offsite.NewFolder(copies, "")
	if err != nil {
		t.Fatal(err)
	}
	copier := offsite.Copier{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Store: store, Dir: dir,
		Release: offsite.Release{Namespace: r.namespace, Name: r.name}, Recipients: recipients,
		Escrow: func() (offsite.Escrow, error) { return escrow, nil }}
	if err := copier.Copy(t.Context(), folder.Metadata); err != nil {
		t.Fatal(err)
	}
	return copies, identity
}

// allValues are the values of the release, the chart's own among them.
func (r *release) allValues(t *testing.T) string {
	t.Helper()
	got := r.run(context.Background(), time.Minute, "get", "values", r.name, "--namespace", r.namespace, "--all", "--output", "yaml")
	if got.err != nil {
		t.Fatalf("%v\n%s", got.err, got.output)
	}
	return got.output
}
