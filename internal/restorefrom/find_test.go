package restorefrom_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/offsite"
	"github.com/neutree-ai/packaging/internal/restorefrom"
	"github.com/neutree-ai/packaging/internal/restorefrom/restorefromtest"
)

func TestFind(t *testing.T) {
	p := restorefromtest.New(t)
	_, err := restorefrom.Find(t.Context(), p.Store, "", "latest")
	wantFailure(t, err, hook.Refused, "there are no copies of backups in "+p.Dir, "[backup.missing]")
	p.Copy(neutree, "b1", noon)
	p.Copy(neutree, "b2", noon.Add(time.Hour))
	// One that is not complete is none.
	if err := p.Store.Put(t.Context(), "nap.neutree/b3/abcdefghabcdefgh/database.dump.00001.age", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for release, name := range map[string]string{"": "latest", "neutree": "latest", "nap.neutree": "b2"} {
		found, err := restorefrom.Find(t.Context(), p.Store, release, name)
		if err != nil || found.Backup.Name != "b2" {
			t.Errorf("--release %q %s: %v", release, name, err)
		}
	}
	_, err = restorefrom.Find(t.Context(), p.Store, "", "b3")
	wantFailure(t, err, hook.Refused, "the copy of backup b3 in", "is incomplete", "[offsite.incomplete]")
	_, err = restorefrom.Find(t.Context(), p.Store, "", "b4")
	wantFailure(t, err, hook.Refused, "there is no copy of backup b4", "[offsite.missing]")
	_, err = restorefrom.Find(t.Context(), p.Store, "other", "b1")
	wantFailure(t, err, hook.Refused, "has no copies of release other: choose one with --release, of nap.neutree", "[backup.release]")
	p.Copy(offsite.Release{Namespace: "test", Name: "neutree"}, "b5", noon)
	_, err = restorefrom.Find(t.Context(), p.Store, "neutree", "latest")
	wantFailure(t, err, hook.Refused, "has copies of several releases: choose one with --release, of nap.neutree, test.neutree",
		"[backup.release]")
	if found, err := restorefrom.Find(t.Context(), p.Store, "test.neutree", "latest"); err != nil || found.Backup.Name != "b5" {
		t.Errorf("%v", err)
	}
}

func TestList(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	p.Copy(neutree, "b2", noon.Add(time.Hour), func(m *backup.Metadata) { m.Reason = "\x1b[2Jby hand" })
	for key, content := range map[string]string{
		"nap.neutree/b3/abcdefghabcdefgh/database.dump.00001.age": "x", "nap.neutree/b4/backup.json": "no JSON",
	} {
		if err := p.Store.Put(t.Context(), key, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := restorefrom.List(t.Context(), p.Store, "")
	if err != nil || len(entries) != 4 {
		t.Fatalf("%v: %+v", err, entries)
	}
	if entries[0].Name != "b2" || entries[1].Name != "b1" || entries[2].Problem != "incomplete" ||
		!strings.Contains(entries[3].Problem, "it is no JSON") {
		t.Errorf("%+v", entries)
	}
	var out strings.Builder
	if err := restorefrom.WriteTable(&out, entries); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"NAME", "2026-11-23T13:00:00Z", "127_x", p.Version, "^[[2Jby hand", "neutree"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("the table does not say %q:\n%s", word, out.String())
		}
	}
	if strings.Contains(out.String(), "b3") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the table:\n%s", out.String())
	}
	raw, err := json.Marshal(entries)
	if err != nil || strings.Contains(string(raw), "digest") {
		t.Errorf("%v: %s", err, raw)
	}
}

func TestVerify(t *testing.T) {
	p := restorefromtest.New(t)
	p.Copy(neutree, "b1", noon)
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	verify := func(identities ...age.Identity) (string, error) {
		t.Helper()
		found, err := restorefrom.Find(t.Context(), p.Store, "", "b1")
		if err != nil {
			t.Fatal(err)
		}
		unchecked, err := restorefrom.Verify(t.Context(), slog.New(slog.DiscardHandler), found, identities)
		return strings.Join(unchecked, "; "), err
	}
	program := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, "pg_restore"), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if unchecked, err := verify(); err != nil || unchecked != "whether it can be decrypted, and what is in it: that takes --identity" {
		t.Errorf("without an identity: %q, %v", unchecked, err)
	}
	if unchecked, err := verify(p.Identity); err != nil || !strings.Contains(unchecked, "that program is not installed here") {
		t.Errorf("without pg_restore: %q, %v", unchecked, err)
	}
	program("echo '1; 0 TABLE DATA public users nap'")
	if unchecked, err := verify(p.Identity); err != nil || strings.Contains(unchecked, "pg_restore") {
		t.Errorf("with pg_restore: %q, %v", unchecked, err)
	}
	program("echo 'pg_restore: error: unsupported version (1.16) in file header' >&2; exit 1")
	if unchecked, err := verify(p.Identity); err != nil || !strings.Contains(unchecked, "is older than the server's") {
		t.Errorf("with an older pg_restore: %q, %v", unchecked, err)
	}
	program("echo 'pg_restore: error: input file does not appear to be a valid archive' >&2; exit 1")
	if _, err := verify(p.Identity); err == nil || !strings.Contains(err.Error(), "pg_restore does not read the dump of backup b1") {
		t.Errorf("a dump that is none: %v", err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify(other)
	wantFailure(t, err, hook.Refused, "is not encrypted for this identity", "[offsite.identity]")
	if err := p.Store.Delete(t.Context(), p.LastPart()); err != nil {
		t.Fatal(err)
	}
	_, err = verify()
	wantFailure(t, err, hook.Refused, "is missing", "[offsite.damaged]")
}
