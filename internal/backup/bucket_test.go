package backup_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/s3test"
)

// inBucket has the fixture's backups copied to a bucket of server, and returns the private key that opens the copies.
func (f *fixture) inBucket(t *testing.T, server *s3test.Server) *age.X25519Identity {
	t.Helper()
	person, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	mounted := t.TempDir()
	for name, content := range map[string]string{
		"access-key": s3test.AccessKey, "secret-key": s3test.SecretKey, "values.yaml": "global: {}\n", "nap-admin/password": "secret-password",
	} {
		path := filepath.Join(mounted, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f.Spec.Namespace = "nap"
	f.Spec.Copies = &hook.CopySpec{
		S3: &hook.S3Spec{
			Endpoint: server.URL, PlainHTTP: true, Bucket: server.Bucket, Prefix: "production", Credentials: mounted, Secret: "bucket",
		},
		Recipients: []string{person.Recipient().String()}, Retention: hook.CopyRetention{Last: 2},
		Escrow: hook.EscrowSpec{
			Dir: mounted, Values: filepath.Join(mounted, "values.yaml"),
			Secrets: []hook.EscrowSecret{{Name: "nap-admin", Keys: []string{"password"}}},
		},
	}
	f.Copies = offsite.Copies{Log: f.Log, Spec: f.Spec}
	return person
}

func TestABackupInABucket(t *testing.T) {
	server := s3test.Start(t, s3test.Options{})
	f := newFixture(t)
	person := f.inBucket(t, server)
	for _, name := range []string{"first", "before-r4-20261101-020000", "second"} {
		if _, err := f.Create(t.Context(), name, ""); err != nil {
			t.Fatal(err)
		}
	}
	store, err := offsite.NewS3(offsite.S3Options{
		Endpoint: server.URL, PlainHTTP: true, Bucket: server.Bucket, Prefix: "production",
		Credentials: func() (offsite.S3Credentials, error) {
			return offsite.S3Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	releases, err := offsite.Releases(t.Context(), store)
	if err != nil || len(releases) != 1 {
		t.Fatalf("releases %v: %v", releases, err)
	}
	listing, err := offsite.List(t.Context(), store, releases[0])
	if err != nil || len(listing.Copies) != 3 {
		t.Fatalf("listed %+v: %v", listing, err)
	}
	for _, copied := range listing.Copies {
		opened, err := copied.Unlock(t.Context(), []age.Identity{person})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range opened.FileNames() {
			want, err := os.ReadFile(filepath.Join(f.Spec.Dir, copied.Backup.Name, file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(opened.Open(t.Context(), file))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %s is another one: %v", file, copied.Backup.Name, err)
			}
		}
	}
	if strings.Contains(f.said.String(), "secret-password") || strings.Contains(f.said.String(), s3test.SecretKey) {
		t.Errorf("a secret is in the log:\n%s", f.said)
	}

	// Another cluster, with other data, writes to the same place.
	other := newFixture(t)
	other.inBucket(t, server)
	_, err = other.Create(t.Context(), "second", "")
	if ids := finding.Of(err).IDs(); len(ids) != 1 || ids[0] != string(finding.OffsiteOther) {
		t.Errorf("it is not refused: %v", err)
	}
	if _, err := other.Read("second"); err != nil {
		t.Errorf("its own backup is not there: %v", err)
	}
}
