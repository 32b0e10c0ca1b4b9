package backup_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const credentialKey = "0123456789abcdef0123456789abcdef"

// credentials are two that were stored with credentialKey, and one that no key opens.
const credentials = `INSERT INTO public.users (id, username, display_name, role) VALUES ('u1', 'grace', 'Grace', 'user');
INSERT INTO public.user_credentials VALUES ('c0', 'u1', 'broken', '\x00ff'),
  ('c1', 'u1', 'github', pgp_sym_encrypt('hunter2', '` + credentialKey + `')),
  ('c2', 'u1', 'gitlab', pgp_sym_encrypt('hunter3', '` + credentialKey + `'))`

// drillOf is a drill of f's backups in a throw-away database.
func drillOf(t *testing.T, f *fixture) *backup.Backup {
	t.Helper()
	drill := f.Backup
	drill.DatabaseURL, drill.CredentialKey = pgtest.Start(t), credentialKey
	return &drill
}

// wantProblem asserts that the drill of a backup says why it is not good.
func wantProblem(t *testing.T, drill *backup.Backup, name string, words ...string) {
	t.Helper()
	result, err := drill.Drill(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if result.Passed {
		t.Errorf("it passed: %+v", result)
	}
	for _, word := range words {
		if !strings.Contains(strings.Join(result.Problems, "\n"), word) {
			t.Errorf("the problems do not say %q: %q", word, result.Problems)
		}
	}
}

// rewrite changes what a backup says of itself.
func rewrite(t *testing.T, f *fixture, name string, change func(*backup.Metadata)) {
	t.Helper()
	m, err := f.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	change(&m)
	raw, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.Spec.Dir, name, "backup.json"), raw, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDrillOfAGoodBackup(t *testing.T) {
	f := newFixture(t)
	f.exec(t, credentials)
	m := f.create(t, "b1")
	if m.Rows["public.everything"] != 51 || m.Rows["sandbox.children"] != 2 || len(m.Rows) != m.Tables {
		t.Errorf("%d tables are dumped, and the rows of %d recorded: %v", m.Tables, len(m.Rows), m.Rows)
	}
	before := f.everything(t)
	// The Job mounts the backups to read only.
	if err := os.Chmod(filepath.Join(f.Spec.Dir, "b1", "controller.db"), 0o440); err != nil {
		t.Fatal(err)
	}
	result, err := drillOf(t, f).Drill(t.Context(), "b1")
	if err != nil {
		t.Fatal(err)
	}
	if !result.Passed || len(result.Problems) > 0 || !strings.HasSuffix(result.Rows, "tables, as recorded") ||
		result.Credentials != "one was decrypted" || result.Schema != "the schema was up to date" || result.AFS != "intact" {
		t.Errorf("%+v", result)
	}
	message, err := result.Message()
	if err != nil || len(message) > 4096 || strings.Contains(message, credentialKey) {
		t.Errorf("%d bytes, %v: %s", len(message), err, message)
	}
	read, err := backup.ReadDrillResult(message)
	if err != nil || !read.Passed {
		t.Errorf("%+v %v", read, err)
	}
	if before != f.everything(t) {
		t.Error("the database that the backup was made of has changed")
	}
}

func TestDrillFindsWhatIsWrong(t *testing.T) {
	f := newFixture(t)
	f.exec(t, credentials)
	f.create(t, "b1")
	t.Run("rows that are missing", func(t *testing.T) {
		rewrite(t, f, "b1", func(m *backup.Metadata) {
			m.Rows["public.everything"], m.Rows["public.gone"] = 52, 3
			delete(m.Rows, "sandbox.children")
		})
		wantProblem(t, drillOf(t, f), "b1", "table public.everything has 51 rows, not 52", "table public.gone is missing",
			"table sandbox.children was not in the database")
	})
	t.Run("a record of rows that an earlier version did not make", func(t *testing.T) {
		rewrite(t, f, "b1", func(m *backup.Metadata) { m.Rows = nil })
		result, err := drillOf(t, f).Drill(t.Context(), "b1")
		if err != nil || !result.Passed || !strings.Contains(result.Rows, "not compared") {
			t.Errorf("%+v %v", result, err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		drill := drillOf(t, f)
		drill.CredentialKey = strings.Repeat("x", 32)
		wantProblem(t, drill, "b1", "none of 3 could be decrypted")
	})
	t.Run("migrations that the images do not have", func(t *testing.T) {
		rewrite(t, f, "b1", func(m *backup.Metadata) {
			m.Ledgers["public.schema_migrations"] = append(m.Ledgers["public.schema_migrations"], "999_later")
		})
		wantProblem(t, drillOf(t, f), "b1", "of a newer release", "999_later")
	})
	t.Run("files that were changed", func(t *testing.T) {
		f.create(t, "b2")
		path := filepath.Join(f.Spec.Dir, "b2", "database.dump")
		if err := os.Truncate(path, 1000); err != nil {
			t.Fatal(err)
		}
		wantProblem(t, drillOf(t, f), "b2", "backup b2 is damaged: database.dump has 1000 B")
	})
	t.Run("a dump that can't be restored, without a row in the message", func(t *testing.T) {
		f.exec(t, `CREATE FUNCTION public.fits(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE TABLE public.bad (words text CHECK (public.fits(words))); INSERT INTO public.bad VALUES ('secret row');
CREATE OR REPLACE FUNCTION public.fits(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false'`)
		f.create(t, "b3")
		result, err := drillOf(t, f).Drill(t.Context(), "b3")
		if problems := strings.Join(result.Problems, ""); err != nil || result.Passed || strings.Contains(problems, "secret row") ||
			!strings.Contains(problems, "the dump could not be restored") || !strings.Contains(problems, "violates check constraint") {
			t.Errorf("passed %v, error %v: %q", result.Passed, err, result.Problems)
		}
	})
}

// The address of a drill that leads to data, by whatever mistake, must cost nothing.
func TestDrillNeverWritesWhereDataIs(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	before := f.everything(t)
	drill := f.Backup
	_, err := drill.Drill(t.Context(), "b1")
	wantFailure(t, err, hook.Refused, "the database of the drill is not empty", "nothing was changed")
	if before != f.everything(t) {
		t.Error("the database has changed")
	}
}

func TestDrillThatCanNotBeDone(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	_, err := drillOf(t, f).Drill(t.Context(), "b9")
	wantFailure(t, err, hook.Refused, "there is no backup b9")
	drill := drillOf(t, f)
	drill.Bin = t.TempDir()
	for _, program := range []string{"pg_dump", "psql"} {
		if err := os.Symlink(filepath.Join(f.Bin, program), filepath.Join(drill.Bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = drill.Drill(t.Context(), "b1")
	wantFailure(t, err, hook.Refused, "the image has no pg_restore")
}
