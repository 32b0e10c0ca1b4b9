package offsite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// secret is in every escrow of these tests, and never in the clear.
const secret = "the-password-of-the-administrator"

// key is the encryption key of the backups of these tests.
const key = "0123456789abcdef0123456789abcdef"

// installation has backups, and people who may read them.
type installation struct {
	*Copier
	said          *bytes.Buffer
	person, drill *age.X25519Identity
}

func newInstallation(t *testing.T, store Store) *installation {
	t.Helper()
	person, drill := identity(t), identity(t)
	recipients, err := NewRecipients([]string{person.Recipient().String()}, []string{drill.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	said := &bytes.Buffer{}
	return &installation{said: said, person: person, drill: drill, Copier: &Copier{
		Log: slog.New(slog.NewTextHandler(said, nil)), Store: store, Dir: t.TempDir(),
		Release: Release{Namespace: "nap", Name: "neutree"}, Recipients: recipients, PartBytes: 1000,
		Retention: hook.CopyRetention{Last: 2, Daily: 2, Weekly: 1, Monthly: 1},
		Escrow: func() (Escrow, error) {
			return Escrow{Format: Format, Namespace: "nap", Release: "neutree", Values: "global: {}\n", Secrets: []EscrowSecret{
				{Name: "nap-admin", Data: map[string][]byte{"password": []byte(secret)}},
				{Name: "nap-cp-secret", Data: map[string][]byte{"CREDENTIAL_ENCRYPTION_KEY": []byte(key)}},
			}}, nil
		},
	}}
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// made adds a backup of that time to the installation. Its files have sizes at the borders of parts.
func (i *installation) made(t *testing.T, name string, at time.Time) backup.Metadata {
	t.Helper()
	m := backup.Metadata{
		Name: name, Time: at, Kind: backup.KindOf(name), Release: i.Release.Name, Revision: 3, Chart: "0.2.0", Tables: 7,
		Rows:  map[string]int64{"public.channel_messages": 4711},
		Key:   migrate.KeyRecord{Salt: []byte("salt"), Digest: []byte("digest")},
		Files: map[string]backup.File{},
	}
	dir := filepath.Join(i.Dir, name)
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for file, size := range map[string]int{backup.DatabaseFile: 4321, backup.AFSFile: 2000} {
		content := make([]byte, size)
		copy(content, "plain rows of the database "+name)
		for n := 100; n < size; n++ {
			content[n] = byte(rand.IntN(256))
		}
		write(t, filepath.Join(dir, file), content)
		sum := sha256.Sum256(content)
		m.Files[file] = backup.File{Bytes: int64(size), SHA256: hex.EncodeToString(sum[:])}
		m.Bytes += int64(size)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, backup.MetadataFile), raw)
	return m
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o640); err != nil {
		t.Fatal(err)
	}
}

func (i *installation) copied(t *testing.T, name string) *Copy {
	t.Helper()
	c, err := Read(t.Context(), i.Store, i.Release, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fine is what Maintain is given for backups that are as they were.
func fine(context.Context, backup.Metadata) error { return nil }

func folderStore(t *testing.T) *Folder {
	t.Helper()
	store, err := NewFolder(t.TempDir(), "copies/production")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// keys are all objects of a store.
func keys(t *testing.T, store Store) []string {
	t.Helper()
	var found []string
	for object, err := range store.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, object.Key)
	}
	return found
}

// wantFinding checks that err is that finding and says each of the texts.
func wantFinding(t *testing.T, err error, id finding.ID, texts ...string) {
	t.Helper()
	if !is(err, id) {
		t.Fatalf("want %s, got %v", id, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), "%!") {
		t.Errorf("a text is not formatted: %v", err)
	}
}

func day(n int) time.Time { return time.Date(2026, 11, 1, 2, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func named(n int) string { return fmt.Sprintf("scheduled-%s", day(n).Format("20060102-150405")) }
