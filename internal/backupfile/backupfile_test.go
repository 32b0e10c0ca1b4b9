package backupfile_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/backupfile"
	"github.com/neutree-ai/packaging/internal/hook"
)

const rows = "rows that no one else may read"

func tarOf(t *testing.T, name string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(rows))
	var out bytes.Buffer
	err := backup.WriteTar(&out, backup.Metadata{Name: name, Files: map[string]backup.File{
		backup.DatabaseFile: {Bytes: int64(len(rows)), SHA256: hex.EncodeToString(sum[:])},
	}}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(rows)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	made, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestFile(t *testing.T) {
	mine, whole := identity(t), tarOf(t, "b1")
	dir := filepath.Join(t.TempDir(), "mine")
	path, err := backupfile.Write(t.Context(), bytes.NewReader(whole), dir, "b1", []age.Recipient{mine.Recipient()})
	if err != nil || path != filepath.Join(dir, "b1.tar.age") {
		t.Fatalf("%s: %v", path, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Contains(raw, []byte(rows)) {
		t.Errorf("the rows are in the clear: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	f, err := backupfile.Open(t.Context(), path, []age.Identity{mine})
	if err != nil || f.Name != "b1" {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if err := f.WriteTar(&back); err != nil || !bytes.Equal(back.Bytes(), whole) {
		t.Errorf("it comes back with %d bytes of %d: %v", back.Len(), len(whole), err)
	}
	// As `age -d FILE | tar x` reads it.
	archive, names := tar.NewReader(&back), ""
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names += header.Name + " "
	}
	if names != "backup.json database.dump " {
		t.Errorf("it has %s", names)
	}
	_, err = backupfile.Open(t.Context(), path, []age.Identity{identity(t)})
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "is not encrypted for this identity") {
		t.Errorf("another identity: %v", err)
	}
	_, err = backupfile.Write(t.Context(), bytes.NewReader(whole), dir, "b1", []age.Recipient{mine.Recipient()})
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "is there already [backup.exists]") &&
		!strings.Contains(err.Error(), "is there already: name another folder") {
		t.Errorf("a second time: %v", err)
	}
	if err := os.Truncate(path, int64(len(raw)-10)); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteTar(io.Discard); err == nil {
		t.Error("a file that is cut off is taken for whole")
	}
	if err := os.WriteFile(path, []byte("no age file"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = backupfile.Open(t.Context(), path, []age.Identity{mine})
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "can't be decrypted") {
		t.Errorf("another file: %v", err)
	}
}

// What arrives cut off, or is another backup, leaves nothing.
func TestFileThatFails(t *testing.T) {
	mine, whole := identity(t), tarOf(t, "b1")
	for name, content := range map[string][]byte{
		"cut off": whole[:len(whole)/2], "another": tarOf(t, "b2"), "nothing": nil,
		"another content": bytes.Replace(whole, []byte(rows), []byte(strings.ToUpper(rows)), 1),
	} {
		dir := t.TempDir()
		if _, err := backupfile.Write(t.Context(), bytes.NewReader(content), dir, "b1", []age.Recipient{mine.Recipient()}); err == nil {
			t.Errorf("%s: it is taken for a backup", name)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: it leaves %v, %v", name, entries, err)
		}
	}
}
