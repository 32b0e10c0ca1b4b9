package offsite

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// specified is an installation whose copies a spec asks for, with Secrets and values where the Job has them.
func specified(t *testing.T) (*installation, Copies) {
	t.Helper()
	i := newInstallation(t, folderStore(t))
	escrow := t.TempDir()
	write(t, filepath.Join(escrow, "values.yaml"), []byte("global: {host: agents.example.com}\n"))
	dir := filepath.Join(escrow, "secrets", "nap-cp-secret")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "JWT_SECRET"), []byte(secret))
	return i, Copies{Log: slog.New(slog.NewTextHandler(i.said, nil)), Spec: hook.BackupSpec{
		Dir: i.Dir, Release: "neutree", Namespace: "nap", Chart: "0.2.0", Revision: 3,
		Copies: &hook.CopySpec{
			Dir: t.TempDir(), Prefix: "production", Recipients: i.Recipients.Keys, DrillRecipients: i.Recipients.DrillKeys,
			Escrow: hook.EscrowSpec{Dir: filepath.Join(escrow, "secrets"), Values: filepath.Join(escrow, "values.yaml"),
				Secrets: []hook.EscrowSecret{
					{Name: "nap-cp-secret", Type: "Opaque", Keys: []string{"JWT_SECRET", "PLATFORM_SERVICE_KEY"}},
					{Name: "mine", Existing: true, Value: "global.admin.existingSecret", Keys: []string{"password"}},
				}},
		},
	}}
}

func TestCopiesOfASpec(t *testing.T) {
	i, copies := specified(t)
	m := i.made(t, "20261101-020000", day(0))
	// Before an upgrade the values are those of the previous revision.
	mounted := filepath.Dir(copies.Spec.Copies.Escrow.Values)
	write(t, filepath.Join(mounted, "chart"), []byte("0.1.0\n"))
	write(t, filepath.Join(mounted, "revision"), []byte("2"))
	if err := copies.Copy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := copies.Maintain(t.Context(), []backup.Metadata{m}, fine); err != nil {
		t.Fatal(err)
	}
	store, err := NewFolder(copies.Spec.Copies.Dir, "production")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // It was only read.
	if copies.String() != store.String() {
		t.Errorf("it says %s of %s", copies, store)
	}
	copied, err := Read(t.Context(), store, i.Release, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := copied.Unlock(t.Context(), []age.Identity{i.person})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, opened.Open(t.Context(), backup.AFSFile)); err != nil {
		t.Error(err)
	}
	got, err := opened.Escrow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got.Time = day(0)
	want := Escrow{Format: 1, Time: day(0), Namespace: "nap", Release: "neutree", Chart: "0.1.0", Revision: 2,
		Values: "global: {host: agents.example.com}\n", Missing: []string{"mine/password", "nap-cp-secret/PLATFORM_SERVICE_KEY"},
		Secrets: []EscrowSecret{{Name: "nap-cp-secret", Type: "Opaque", Data: map[string][]byte{"JWT_SECRET": []byte(secret)}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the escrow (-want +got):\n%s", diff)
	}
	if said := i.said.String(); !strings.Contains(said, "mine/password") || strings.Contains(said, secret) {
		t.Errorf("it said:\n%s", said)
	}
}

func TestSpecsThatCanNotBeFollowed(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*hook.CopySpec)
		id     finding.ID
		says   string
	}{
		{"no values yet", func(s *hook.CopySpec) { s.Escrow.Values += ".not" }, finding.OffsiteEscrow, "after the upgrade"},
		{"no volume", func(s *hook.CopySpec) { s.Dir += "/not" }, finding.OffsiteBucket, "no such folder"},
		{"no recipient", func(s *hook.CopySpec) { s.Recipients = nil }, finding.OffsiteRecipient, "global.backup.offsite.recipients"},
		{"no credentials", func(s *hook.CopySpec) {
			s.S3 = &hook.S3Spec{Endpoint: "https://s3.example.com", Bucket: "backups", Credentials: s.Dir, Secret: "bucket"}
		}, finding.OffsiteCredentials, "Secret bucket has no"},
		{"no CA", func(s *hook.CopySpec) {
			s.S3 = &hook.S3Spec{Endpoint: "https://s3.example.com", Bucket: "backups", Credentials: s.Dir, CA: []string{s.Dir + "/ca.crt"}}
		}, finding.OffsiteCertificate, "global.backup.s3.caSecret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, copies := specified(t)
			test.change(copies.Spec.Copies)
			wantFinding(t, copies.Copy(t.Context(), i.made(t, "20261101-020000", day(0))), test.id, test.says)
		})
	}
}
