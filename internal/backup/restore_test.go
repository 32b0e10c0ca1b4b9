package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// damage changes, removes and adds, in rows and in the schema, also what the dump knows nothing of.
const damage = `DELETE FROM sandbox.children; DELETE FROM public.everything WHERE id > 10; UPDATE public.everything SET words = 'changed', document = '{}';
ALTER TABLE public.users ADD COLUMN later text; DROP TABLE public.skill_versions;
CREATE SCHEMA later; CREATE TABLE later.added (id int PRIMARY KEY, parent bigint REFERENCES public.everything);
CREATE TABLE public.added (parent bigint REFERENCES public.everything); CREATE VIEW public.seen AS SELECT id, feeling FROM public.everything;
CREATE FUNCTION public.added_function(public.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE public.added_procedure() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE public.added_sum(int) (SFUNC = int4pl, STYPE = int);
CREATE TYPE public.pair AS (a int, b int); CREATE SEQUENCE public.counter;
SELECT lo_from_bytea(0, 'another'); SELECT nextval('public.everything_id_seq');`

func TestRestoreBringsEverythingBack(t *testing.T) {
	f := newFixture(t)
	before := f.everything(t)
	f.create(t, "b1")
	f.exec(t, damage)
	f.sqlite(t, "DELETE FROM dirs", "INSERT INTO dirs VALUES ('d9', '/z')", "CREATE TABLE later (x)")
	result, err := f.Restore(t.Context(), "b1", false)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.said)
	}
	if !strings.Contains(result, "backup b1 of ") || !strings.Contains(result, "the schema was up to date") {
		t.Error(result)
	}
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Errorf("the database is not what it was:\n%s", diff)
	}
	if got := f.dirs(t); got != "d1=/a,d2=/b" {
		t.Errorf("AFS's database holds %s", got)
	}
	if _, err := f.Restore(t.Context(), "b1", false); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Errorf("the second restore ended in another state:\n%s", diff)
	}
}

// A dump says nothing of the release that its database belongs to, so none takes over another's database by a restore.
func TestRestoreLeavesTheOwner(t *testing.T) {
	f := newFixture(t)
	f.Spec.Namespace = "nap"
	owner := migrate.Owner{Release: "neutree", Namespace: "nap", Cluster: "uid-1"}
	is := func(want migrate.Owner) {
		t.Helper()
		standing, err := migrate.Compare(t.Context(), f.DatabaseURL, nil)
		if err != nil || standing.Owner != want {
			t.Errorf("the database belongs to %+v, want %+v, %v", standing.Owner, want, err)
		}
	}
	restore := func() {
		t.Helper()
		if _, err := f.Restore(t.Context(), "b1", false); err != nil {
			t.Fatalf("%v\n%s", err, f.said)
		}
	}
	if err := migrate.Claim(t.Context(), f.DatabaseURL, owner, ""); err != nil {
		t.Fatal(err)
	}
	f.create(t, "b1")
	// The installation is a new one, which a dump does not say either.
	f.exec(t, "UPDATE neutree.owner SET began_empty = true")
	restore()
	is(owner)
	if standing, err := migrate.Compare(t.Context(), f.DatabaseURL, nil); err != nil || !standing.New {
		t.Errorf("a restore makes it forget that the database began empty: %v", err)
	}
	moved := owner
	moved.Cluster = "uid-2"
	if err := migrate.Claim(t.Context(), f.DatabaseURL, moved, "nap/neutree@uid-1"); err != nil {
		t.Fatal(err)
	}
	restore()
	is(moved)
	// Into a new database comes nothing but data, and the release that restores it claims it.
	f.exec(t, "DROP SCHEMA neutree CASCADE")
	restore()
	is(migrate.Owner{Release: "neutree", Namespace: "nap"})

	f.Spec.Namespace = "test"
	_, err := f.Restore(t.Context(), "b1", false)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
		"the database belongs to release neutree in namespace nap") {
		t.Errorf("into the database of another release: exit %d: %v", hook.CodeOf(err), err)
	}
}

// What an older release saved is brought to the schema of the one that is installed.
func TestRestoreOfAnOlderRelease(t *testing.T) {
	f := newFixture(t)
	f.create(t, "old")
	newer := t.TempDir()
	if err := os.CopyFS(newer, os.DirFS(f.Spec.Migrations[0].Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(newer, "132_more.sql"), []byte("CREATE TABLE public.more (id int)"), 0o600); err != nil {
		t.Fatal(err)
	}
	older := f.Spec.Migrations
	f.Spec.Migrations = []hook.Migration{{Source: "control-plane", Dir: newer}, older[1]}
	f.Spec.Set = "6e7"
	result, err := f.Restore(t.Context(), "old", false)
	if err != nil || !strings.Contains(result, "1 migrations applied, the last one 132_more of control-plane") {
		t.Fatalf("%s %v", result, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := migrate.WaitForSet(ctx, f.Log, f.DatabaseURL, "6e7"); err != nil {
		t.Errorf("the services would wait: %v", err)
	}

	f.create(t, "new")
	f.Spec.Migrations, f.Spec.Set = older, "5e7"
	_, err = f.Restore(t.Context(), "new", false)
	wantFailure(t, err, hook.Refused, "backup new is of a newer release", "public.schema_migrations 132_more", "--allow-newer-schema")
	if _, err := f.Restore(t.Context(), "new", true); err != nil {
		t.Errorf("allowed, yet: %v", err)
	}
}

func TestRestoreRefusesWhatIsDamaged(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	dir, whole := filepath.Join(f.Spec.Dir, "b1"), filepath.Join(t.TempDir(), "b1")
	if err := os.CopyFS(whole, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	f.exec(t, damage)
	before := f.everything(t)
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"a changed byte": {func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "database.dump"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{"backup b1 is damaged: database.dump", "restore another one"}},
		"a cut dump": {func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "database.dump"), func(b []byte) []byte { return b[:len(b)/2] })
		}, []string{"backup b1 is damaged: database.dump"}},
		"a missing dump": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "database.dump")); err != nil {
				t.Fatal(err)
			}
		}, []string{"backup b1 is damaged", "no such file"}},
		"AFS's database": {func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "controller.db"), func(b []byte) []byte { return append(b, 0) })
		}, []string{"backup b1 is damaged: controller.db"}},
		"a file outside": {func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "backup.json"), func(b []byte) []byte {
				return []byte(strings.ReplaceAll(string(b), `"controller.db"`, `"../../etc/passwd"`))
			})
		}, []string{`it names a file "../../etc/passwd"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(whole))); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			_, err := f.Restore(t.Context(), "b1", false)
			wantFailure(t, err, hook.Refused, c.want...)
			if diff := cmp.Diff(before, f.everything(t)); diff != "" {
				t.Errorf("refused, but the database changed:\n%s", diff)
			}
		})
	}
	_, err := f.Restore(t.Context(), "b9", false)
	wantFailure(t, err, hook.Refused, "there is no backup b9 in claim nap-backups", "helm neutree backup list")
}

func change(t *testing.T, path string, do func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, do(raw), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A statement of the dump that fails in the middle leaves the database as it was.
func TestRestoreIsAllOrNothing(t *testing.T) {
	f := newFixture(t)
	// The rows hold, the constraint does not: it is the last thing that a restore makes.
	f.exec(t, `CREATE FUNCTION public.fits() RETURNS boolean LANGUAGE sql AS 'SELECT current_setting(''application_name'') <> ''nap-hooks backup'' OR true';
CREATE TABLE public.checked (id int CHECK (public.fits())); INSERT INTO public.checked VALUES (1);`)
	f.exec(t, `CREATE OR REPLACE FUNCTION public.fits() RETURNS boolean LANGUAGE sql AS 'SELECT false'`)
	f.create(t, "b1")
	f.exec(t, damage)
	before := f.everything(t)
	dirs := f.dirs(t)
	_, err := f.Restore(t.Context(), "b1", false)
	wantFailure(t, err, hook.Unchanged, "nothing is changed", "violates check constraint")
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Errorf("it failed, but the database changed:\n%s", diff)
	}
	if got := f.dirs(t); got != dirs {
		t.Errorf("it failed, but AFS's database changed to %s", got)
	}
}

// Whatever the instant at which a restore is killed, the database is the old one or the new one, and the next run ends
// in the new one.
func TestKilledRestoreConverges(t *testing.T) {
	f := newFixture(t)
	f.exec(t, "CREATE TABLE public.big AS SELECT n, md5(n::text) FROM generate_series(1, 40000) n")
	wanted := f.everything(t)
	f.create(t, "b1")
	f.exec(t, damage)
	began := time.Now()
	if _, err := f.Restore(t.Context(), "b1", false); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	states := map[string]int{}
	const kills = 8
	for i := range kills {
		f.exec(t, "DROP TABLE IF EXISTS public.added; DROP TABLE public.big")
		damaged := f.everything(t)
		f.killRestore(t, "b1", whole*time.Duration(i+1)/kills)
		switch f.everything(t) {
		case wanted:
			states["new"]++
		case damaged:
			states["old"]++
		default:
			t.Fatal("killed, the restore left something between the old and the new")
		}
		if _, err := f.Restore(t.Context(), "b1", false); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, f.everything(t)); diff != "" {
			t.Fatalf("the run after a killed one ended in another state:\n%s", diff)
		}
	}
	t.Logf("one restore takes %s; %d kills left %v", whole.Round(time.Millisecond), kills, states)
}

func (f *fixture) killRestore(t *testing.T, name string, after time.Duration) {
	t.Helper()
	raw, err := json.Marshal(restoreArgs{Spec: f.Spec, URL: f.DatabaseURL, Bin: f.Bin, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), restoreEnv+"="+string(raw))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// Its children see the end of their input and go; so do their sessions.
	for deadline := time.Now().Add(20 * time.Second); f.sessions(t) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("sessions of the killed restore are left")
		}
	}
}

func (f *fixture) sessions(t *testing.T) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // A test's session.
	var n int
	err = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// An extension of another owner, as an operator makes, is left alone.
func TestRestoreLeavesForeignExtensions(t *testing.T) {
	f := newFixture(t)
	pgtest.Exec(t, f.DatabaseURL, "CREATE EXTENSION pg_trgm")
	before := f.everything(t)
	f.create(t, "b1")
	f.exec(t, damage)
	if _, err := f.Restore(t.Context(), "b1", false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Error(diff)
	}
}

func TestRestoreNamesWhoBlocks(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	config, err := pgx.ParseConfig(f.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = "forgotten"
	other, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background()) //nolint:errcheck // A test's session.
	if _, err := other.Exec(t.Context(), "BEGIN; SELECT * FROM public.users", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	f.LockTimeout = 300 * time.Millisecond
	_, err = f.Restore(t.Context(), "b1", false)
	wantFailure(t, err, hook.Busy, "nothing is changed: other sessions use the database", fmt.Sprintf("pid %d (forgotten)", other.PgConn().PID()))
}
