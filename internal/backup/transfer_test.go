package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
)

// sent is the backup called name as a tar.
func (f *fixture) sent(t *testing.T, name string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	if _, err := f.Send(t.Context(), name, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// elsewhere is the same installation with an empty PVC.
func (f *fixture) elsewhere(t *testing.T) *fixture {
	t.Helper()
	other := *f
	other.Spec.Dir = filepath.Join(t.TempDir(), "backups")
	return &other
}

func TestBackupMovesToAnotherClaim(t *testing.T) {
	f := newFixture(t)
	made := f.create(t, "before-r3-20261123-141500")
	before := f.everything(t)
	there := f.elsewhere(t)
	got, err := there.Receive(t.Context(), made.Name, f.sent(t, made.Name))
	if err != nil {
		t.Fatal(err)
	}
	// An upgrade there must not take it for a backup of its own database.
	want := made
	want.Kind, want.Series = backup.Manual, ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it arrives as another one:\n%s", diff)
	}
	again, err := there.Receive(t.Context(), made.Name, f.sent(t, made.Name))
	if err != nil || !again.Time.Equal(made.Time) {
		t.Errorf("a second run: %+v, %v", again, err)
	}
	f.exec(t, "DROP SCHEMA sandbox CASCADE")
	if _, err := there.Restore(t.Context(), made.Name, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Errorf("the restored database differs:\n%s", diff)
	}
}

func TestReceiveRefuses(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	f.create(t, "b2")
	whole := f.sent(t, "b1").Bytes()
	repacked := func(change func(header *tar.Header, content []byte) []byte) []byte {
		var out bytes.Buffer
		in, w := tar.NewReader(bytes.NewReader(whole)), tar.NewWriter(&out)
		for {
			header, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			content, rerr := io.ReadAll(in)
			if err := errors.Join(err, rerr); err != nil {
				t.Fatal(err)
			}
			content = change(header, content)
			header.Size = int64(len(content))
			if _, err := w.Write(nil); err != nil {
				t.Fatal(err)
			}
			if err := w.WriteHeader(header); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	described := func(change func(m map[string]any)) []byte {
		return repacked(func(header *tar.Header, content []byte) []byte {
			if header.Name != "backup.json" {
				return content
			}
			var m map[string]any
			if err := json.Unmarshal(content, &m); err != nil {
				t.Fatal(err)
			}
			change(m)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		})
	}
	renamed := func(from, to string) []byte {
		return repacked(func(header *tar.Header, content []byte) []byte {
			if header.Name == from {
				header.Name = to
			}
			return content
		})
	}
	for name, tc := range map[string]struct {
		tar  []byte
		name string
		code hook.Code
		want string
	}{
		"cut off in the description": {whole[:700], "b1", hook.Unexpected, "the connection was cut before a backup had arrived whole"},
		"cut off in a file": {whole[:len(whole)/2], "b1", hook.Unexpected,
			"the connection was cut before backup b1 had arrived whole: run the same command again"},
		"nothing":        {nil, "b1", hook.Unexpected, "the connection was cut"},
		"no tar":         {[]byte(strings.Repeat("no tar ", 200)), "b1", hook.Unexpected, "invalid tar header"},
		"another backup": {whole, "b3", hook.Refused, "what arrives is backup b1: restore another one [backup.damaged]"},
		"another name of a file": {renamed("database.dump", "../../database.dump"), "b1", hook.Refused,
			`"../../database.dump" arrives with`},
		"no description": {renamed("backup.json", "other.json"), "b1", hook.Refused, "does not begin with the description"},
		"a link": {repacked(func(header *tar.Header, content []byte) []byte {
			if header.Name == "controller.db" {
				header.Typeflag, header.Linkname = tar.TypeSymlink, "/etc/passwd"
				return nil
			}
			return content
		}), "b1", hook.Refused, `"controller.db" arrives with 0 bytes`},
		"another content": {repacked(func(header *tar.Header, content []byte) []byte {
			if header.Name == "database.dump" {
				content = bytes.Clone(content)
				content[len(content)-1]++
			}
			return content
		}), "b1", hook.Refused, "database.dump arrived with the checksum"},
		"a name that leads elsewhere": {described(func(m map[string]any) { m["name"] = "../b1" }), "b1", hook.Usage,
			"no name of a backup"},
		"a file that no backup has": {described(func(m map[string]any) {
			m["files"].(map[string]any)["x.sh"] = map[string]any{"bytes": 1, "sha256": strings.Repeat("a", 64)}
		}), "b1", hook.Refused, `it names a file "x.sh"`},
		"no dump": {described(func(m map[string]any) { delete(m["files"].(map[string]any), "database.dump") }), "b1",
			hook.Refused, "it names no dump of the database"},
		"no checksum": {described(func(m map[string]any) {
			m["files"].(map[string]any)["database.dump"].(map[string]any)["sha256"] = ""
		}), "b1", hook.Refused, "no checksum of database.dump"},
	} {
		t.Run(name, func(t *testing.T) {
			there := f.elsewhere(t)
			_, err := there.Receive(t.Context(), tc.name, bytes.NewReader(tc.tar))
			wantFailure(t, err, tc.code, tc.want)
			if names := there.leftOver(t); len(names) != 0 {
				t.Errorf("it leaves %v", names)
			}
		})
	}
	t.Run("another backup of the same name", func(t *testing.T) {
		there := f.elsewhere(t)
		there.exec(t, "CREATE TABLE public.later (id int)")
		there.create(t, "b1")
		_, err := there.Receive(t.Context(), "b1", bytes.NewReader(whole))
		wantFailure(t, err, hook.Refused, "PVC nap-backups has another backup that is called b1", "[backup.exists]")
	})
	t.Run("no room", func(t *testing.T) {
		there := f.elsewhere(t)
		there.Spec.Size = "10Ki"
		_, err := there.Receive(t.Context(), "b1", bytes.NewReader(whole))
		wantFailure(t, err, hook.Refused, "the backup would not fit", "of the 10.0 KiB of PVC nap-backups", "[backup.space]")
	})
	t.Run("programs that can't read it", func(t *testing.T) {
		there := f.elsewhere(t)
		there.Bin = t.TempDir()
		script := "#!/bin/sh\necho 'pg_restore: error: unsupported version (1.16) in file header' >&2; exit 1\n"
		if err := os.WriteFile(filepath.Join(there.Bin, "pg_restore"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := there.Receive(t.Context(), "b1", bytes.NewReader(whole))
		wantFailure(t, err, hook.Unexpected, "pg_restore of this installation can't read it", "unsupported version (1.16)")
		if names := there.leftOver(t); len(names) != 0 {
			t.Errorf("it leaves %v", names)
		}
	})
}

// A folder of a person's is only theirs to read, and is there once the backup is whole.
func TestFolder(t *testing.T) {
	f := newFixture(t)
	made := f.create(t, "b1")
	whole := f.sent(t, "b1").Bytes()
	dir := filepath.Join(t.TempDir(), "mine")
	if _, err := backup.PullFolder(t.Context(), bytes.NewReader(whole[:len(whole)/2]), dir); err == nil {
		t.Error("half a backup is taken for one")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("half a backup leaves %v, %v", entries, err)
	}
	folder, err := backup.PullFolder(t.Context(), bytes.NewReader(whole), dir)
	if err != nil || folder.Dir != filepath.Join(dir, "b1") {
		t.Fatalf("%s: %v", folder.Dir, err)
	}
	for _, name := range []string{"", "backup.json", "database.dump", "controller.db"} {
		info, err := os.Stat(filepath.Join(folder.Dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v %v", name, info, err)
		}
	}
	_, err = backup.PullFolder(t.Context(), bytes.NewReader(whole), dir)
	wantFailure(t, err, hook.Refused, "has a backup b1 already", "[backup.exists]")
	opened, err := backup.OpenFolder(folder.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if err := opened.WriteTar(&back); err != nil {
		t.Fatal(err)
	}
	got, err := f.elsewhere(t).Receive(t.Context(), "b1", &back)
	if err != nil || !cmp.Equal(got.Files, made.Files) {
		t.Errorf("%+v: %v", got, err)
	}
	_, err = backup.OpenFolder(t.TempDir())
	wantFailure(t, err, hook.Refused, "it has no backup.json", "[backup.missing]")
	if err := os.Truncate(filepath.Join(folder.Dir, "database.dump"), 100); err != nil {
		t.Fatal(err)
	}
	if err := opened.WriteTar(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is cut off: %v", err)
	}
}

// The process that holds the pod ends once no command has been at work for a while.
func TestHold(t *testing.T) {
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := backup.Join(soon); err == nil {
		t.Fatal("a process holds this pod already")
	}
	ended := make(chan error, 1)
	// A command may come before the process that holds the pod is ready.
	time.AfterFunc(200*time.Millisecond, func() { ended <- backup.Hold(t.Context(), 500*time.Millisecond) })
	leave, err := backup.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended while a command was at work: %v", err)
	case <-time.After(time.Second):
	}
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}
