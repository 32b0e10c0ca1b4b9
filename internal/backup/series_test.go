package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// nextRelease gives the fixture's release more migrations of the control plane's, by name.
func (f *fixture) nextRelease(t *testing.T, set string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(f.Spec.Migrations[0].Dir)); err != nil {
		t.Fatal(err)
	}
	for name, sql := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Spec.Set = set
	f.Spec.Migrations = []hook.Migration{{Source: "control-plane", Dir: dir}, f.Spec.Migrations[1]}
}

func (f *fixture) migrate(t *testing.T) error {
	t.Helper()
	_, err := migrate.Migrator{URL: f.DatabaseURL, Log: f.Log}.Apply(t.Context(), f.Spec.Set, f.Spec.Migrations)
	return err
}

// upgrade is one attempt as prepare makes it: a backup, then the migrations. It returns the backup it relies on.
func (f *fixture) upgrade(t *testing.T, attempt int) (string, error) {
	t.Helper()
	m, err := f.Create(t.Context(), fmt.Sprintf("before-r%d-x", attempt), "before the upgrade", "")
	if err != nil {
		t.Fatal(err)
	}
	return m.Name, f.migrate(t)
}

// age makes all backups older, and so apart from those that are made next.
func (f *fixture) age(t *testing.T, by time.Duration) {
	t.Helper()
	list, _, err := f.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		f.rewrite(t, m.Name, `"time": "`+m.Time.Format(time.RFC3339), `"time": "`+m.Time.Add(-by).Format(time.RFC3339))
	}
}

// rewrite replaces text in the description of a backup.
func (f *fixture) rewrite(t *testing.T, name, old, text string) {
	t.Helper()
	path := filepath.Join(f.Spec.Dir, name, "backup.json")
	raw, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(raw), old) {
		t.Fatalf("%s does not hold %s (%v):\n%s", path, old, err, raw)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

const failing = "CREATE TABLE public.half (id int); SELECT 1/0"

// An upgrade whose migrations fail is tried again by Flux or a pipeline, with a retention that is smaller than the number
// of attempts. What is there to go back to must be the database of before the first one.
func TestRetriesOfAFailingMigrationKeepTheFirstBackup(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 3
	for _, name := range []string{"by-hand-1", "by-hand-2", "by-hand-3"} {
		f.create(t, name)
	}
	before := f.everything(t)
	f.nextRelease(t, "6e7", map[string]string{
		"901_good.sql": "CREATE TABLE public.good (id int)", "902_bad.sql": failing})
	var reliedOn []string
	for attempt := 1; attempt <= 6; attempt++ {
		name, err := f.upgrade(t, attempt)
		wantFailure(t, err, hook.MigrationFailed, "902_bad")
		reliedOn = append(reliedOn, name)
		f.age(t, time.Minute)
	}
	// The first attempt has applied one migration, so the second one saves that state; the others find it saved.
	relies := append([]string{"before-r1-x"}, slices.Repeat([]string{"before-r2-x"}, 5)...)
	if diff := cmp.Diff(relies, reliedOn); diff != "" {
		t.Errorf("the backups that the attempts rely on:\n%s", diff)
	}
	want := []string{"before-r1-x", "before-r2-x", "by-hand-1", "by-hand-2", "by-hand-3"}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.names(t)))); diff != "" {
		t.Errorf("what is left:\n%s", diff)
	}
	first, err := f.Read("before-r1-x")
	if err != nil || first.Head() != "127_skill_content_storage" || first.Kind != backup.Upgrade {
		t.Fatalf("%+v %v", first, err)
	}
	// It really is the database of before.
	f.nextRelease(t, "5e7", nil)
	f.Spec.Migrations[0].Dir = "../../test/standin/migrations/control-plane"
	if _, err := f.Restore(t.Context(), "before-r1-x", true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.everything(t)); diff != "" {
		t.Errorf("the first backup holds another database than that before the first attempt:\n%s", diff)
	}
}

// Attempts that each come a little further make a backup each. Those in between give way, not the first one.
func TestAttemptsThatComeFurtherKeepTheFirstBackup(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 2
	files := map[string]string{}
	for attempt := 1; attempt <= 4; attempt++ {
		delete(files, fmt.Sprintf("9%02d_bad.sql", attempt-1))
		files[fmt.Sprintf("9%02d_a.sql", attempt)] = fmt.Sprintf("CREATE TABLE public.made%d (id int)", attempt)
		files[fmt.Sprintf("9%02d_bad.sql", attempt)] = failing
		f.Spec.Migrations[0].Dir = "../../test/standin/migrations/control-plane"
		f.nextRelease(t, fmt.Sprintf("set-%d", attempt), files)
		if name, err := f.upgrade(t, attempt); name != fmt.Sprintf("before-r%d-x", attempt) {
			t.Fatalf("attempt %d relies on %s (%v)", attempt, name, err)
		}
		f.age(t, time.Minute)
	}
	if diff := cmp.Diff([]string{"before-r4-x", "before-r1-x"}, f.names(t)); diff != "" {
		t.Errorf("of four attempts with a retention of two there is left:\n%s", diff)
	}
	delete(files, "904_bad.sql")
	f.Spec.Migrations[0].Dir = "../../test/standin/migrations/control-plane"
	f.nextRelease(t, "good", files)
	if name, err := f.upgrade(t, 5); name != "before-r5-x" || err != nil {
		t.Fatal(name, err)
	}
	f.age(t, time.Minute)
	if !slices.Contains(f.names(t), "before-r1-x") {
		t.Fatal("the series has succeeded, but its successor has no backup yet: the first one is gone")
	}
	files["905_next.sql"] = "CREATE TABLE public.next (id int)"
	f.Spec.Migrations[0].Dir = "../../test/standin/migrations/control-plane"
	f.nextRelease(t, "next", files)
	f.Spec.Retention = 1
	if name, err := f.upgrade(t, 6); name != "before-r6-x" || err != nil {
		t.Fatal(name, err)
	}
	if diff := cmp.Diff([]string{"before-r6-x"}, f.names(t)); diff != "" {
		t.Errorf("the next series has a backup, and there is left:\n%s", diff)
	}
}

// A retry relies on an earlier backup only where that is as good as a new one.
func TestARetrySavesAgainWhereItMust(t *testing.T) {
	f := newFixture(t)
	f.nextRelease(t, "6e7", map[string]string{"902_bad.sql": failing})
	attempt := 0
	next := func() string {
		t.Helper()
		attempt++
		name, err := f.upgrade(t, attempt)
		wantFailure(t, err, hook.MigrationFailed, "902_bad")
		return name
	}
	for _, step := range []struct {
		when   string
		change func(newest string)
	}{
		{"the backup is old", func(string) { f.age(t, 7*time.Hour) }},
		{"the backup is damaged", func(newest string) { f.spoil(t, newest) }},
		{"something was restored since", func(string) {
			if _, err := f.Create(t.Context(), "before-restore-x", "", ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"another migration is in the database", func(string) {
			f.exec(t, "INSERT INTO public.schema_migrations (id) VALUES ('900_other')")
		}},
		{"migrations were applied completely", func(string) {
			f.exec(t, "UPDATE neutree.migration_sets SET applied_at = clock_timestamp()")
		}},
	} {
		newest := next()
		if again := next(); again != newest {
			t.Fatalf("before %s: a retry relies on %s, and there is %s", step.when, again, newest)
		}
		step.change(newest)
		f.age(t, time.Minute)
		if name, want := next(), fmt.Sprintf("before-r%d-x", attempt); name != want {
			t.Errorf("when %s, it relies on %s, want another backup, %s", step.when, name, want)
		}
	}
}

// An upgrade that went well was taken back by a restore of its backup, and people continued to work. The next upgrade
// fails again and again: the database to go back to is that of before its first attempt, not the one that was restored.
func TestARestoreEndsTheSeries(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 2
	old := f.Spec
	f.nextRelease(t, "6e7", map[string]string{"901_good.sql": "CREATE TABLE public.good (id int)"})
	if name, err := f.upgrade(t, 1); name != "before-r1-x" || err != nil {
		t.Fatal(name, err)
	}
	f.age(t, time.Minute)
	f.Spec = old
	if _, err := f.Restore(t.Context(), "before-r1-x", true); err != nil {
		t.Fatal(err)
	}
	f.exec(t, "CREATE TABLE public.worked (id int)")
	files := map[string]string{"901_good.sql": "CREATE TABLE public.good (id int)"}
	for attempt := 2; attempt <= 5; attempt++ {
		files[fmt.Sprintf("90%d_good.sql", attempt)] = fmt.Sprintf("CREATE TABLE public.good%d (id int)", attempt)
		files["909_bad.sql"] = failing
		f.Spec = old
		f.nextRelease(t, "7e7", files)
		name, err := f.upgrade(t, attempt)
		wantFailure(t, err, hook.MigrationFailed, "909_bad")
		if want := fmt.Sprintf("before-r%d-x", attempt); name != want {
			t.Fatalf("attempt %d relies on %s, want %s", attempt, name, want)
		}
		f.age(t, time.Minute)
	}
	if diff := cmp.Diff([]string{"before-r5-x", "before-r2-x"}, f.names(t)); diff != "" {
		t.Errorf("of four attempts after a restore, with a retention of two, there is left:\n%s", diff)
	}
}

// spoil changes a byte of a dump.
func (f *fixture) spoil(t *testing.T, name string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(f.Spec.Dir, name, "database.dump"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // A test's file.
	if _, err := file.WriteAt([]byte("x"), 2000); err != nil {
		t.Fatal(err)
	}
}

// Backups of version 0.1.0 do not say what they were made for, nor which series they belong to: their names and what they
// say of the migrations do.
func TestBackupsOfTheFirstVersionCountByTheirNames(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 1
	f.exec(t, "UPDATE neutree.migration_sets SET applied_at = applied_at - interval '1 hour'")
	f.nextRelease(t, "6e7", map[string]string{
		"901_good.sql": "CREATE TABLE public.good (id int)", "902_bad.sql": failing})
	for attempt := 1; attempt <= 2; attempt++ {
		_, _ = f.upgrade(t, attempt)
		f.age(t, time.Minute)
	}
	for _, name := range []string{"before-r1-x", "before-r2-x"} {
		m, err := f.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		f.rewrite(t, name, `  "kind": "upgrade",`+"\n", "")
		f.rewrite(t, name, fmt.Sprintf("  %q: %q,\n", "series", m.Series), "")
		f.rewrite(t, name, fmt.Sprintf("  %q: %q,\n", "applied", m.Applied.Format(time.RFC3339Nano)), "")
		if m, err = f.Read(name); err != nil || m.Kind != backup.Upgrade || m.Series != "" {
			t.Fatalf("%+v %v", m, err)
		}
	}
	f.create(t, "by-hand")
	f.exec(t, "INSERT INTO public.schema_migrations (id) VALUES ('900_other')")
	if name, _ := f.upgrade(t, 3); name != "before-r3-x" {
		t.Fatalf("it relies on %s", name)
	}
	kept := []string{"before-r1-x", "before-r3-x", "by-hand"}
	if diff := cmp.Diff(kept, slices.Sorted(slices.Values(f.names(t)))); diff != "" {
		t.Error(diff)
	}
	if m, err := f.Read("before-r3-x"); err != nil || m.Series != "before-r1-x" {
		t.Errorf("the series is %q (%v)", m.Series, err)
	}
}

func TestKindOf(t *testing.T) {
	for name, want := range map[string]backup.Kind{
		"20261123-141500": backup.Manual, "before-r12-20261123-141500": backup.Upgrade,
		"before-restore-20261123-141500": backup.Restore, "mine": backup.Manual,
		"scheduled-20261123-141500": backup.Scheduled,
	} {
		if got := backup.KindOf(name); got != want {
			t.Errorf("KindOf(%s) = %s, want %s", name, got, want)
		}
	}
}

// Each kind has a retention of its own.
func TestAutomaticBackupsDeleteNoManualOnes(t *testing.T) {
	f := newFixture(t)
	f.Spec.Retention = 1
	f.create(t, "by-hand")
	for _, name := range []string{"before-restore-1", "before-r1-x"} {
		if _, err := f.Create(t.Context(), name, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	f.age(t, time.Minute)
	if _, err := f.Create(t.Context(), "before-restore-2", "", ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"before-r1-x", "before-restore-2", "by-hand"}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.names(t)))); diff != "" {
		t.Error(diff)
	}
}
