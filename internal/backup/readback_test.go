package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// spoiling is a folder of PostgreSQL's programs whose pg_dump ends well, and does something to its file afterwards.
func spoiling(t *testing.T, do string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pg_restore", "psql"} {
		if err := os.Symlink(pgtest.Tool(t, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`#!/bin/sh
%s "$@" || exit
for arg; do case $arg in --file=*) file=${arg#--file=};; esac; done
[ -z "$file" ] || { size=$(stat -c %%s "$file"); %s; }
`, pgtest.Tool(t, "pg_dump"), do)
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A volume that loses what was written to it, as a full or failing one may, is found out before the backup has a name.
func TestADumpIsReadBack(t *testing.T) {
	f := newFixture(t)
	f.exec(t, "CREATE TABLE public.big AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n")
	f.create(t, "good")
	for name, do := range map[string]string{
		"empty":                  `: > "$file"`,
		"half of it":             `truncate -s $((size / 2)) "$file"`,
		"without its last bytes": `truncate -s $((size - 200)) "$file"`,
		"with a hole": `dd if=/dev/zero of="$file" bs=4096 seek=$((size / 8192)) count=4 ` +
			`conv=notrunc 2>/dev/null`,
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := *f
			spoiled.Bin = spoiling(t, do)
			m, err := spoiled.Create(t.Context(), "bad", "", "good")
			wantFailure(t, err, hook.Unexpected, "pg_restore: ")
			if m.Name != "" {
				t.Errorf("it failed, and describes %+v", m)
			}
			if names := f.names(t); len(names) != 1 || names[0] != "good" {
				t.Errorf("there is %v, want the good backup alone", names)
			}
		})
	}
}

// A retry of a Job finds the backup of the pod before it, whose node may have died while it wrote.
func TestABackupThatIsThereIsCheckedAgain(t *testing.T) {
	f := newFixture(t)
	f.create(t, "b1")
	change(t, filepath.Join(f.Spec.Dir, "b1", "database.dump"), func(b []byte) []byte { return b[:len(b)/2] })
	_, err := f.Create(t.Context(), "b1", "", "")
	wantFailure(t, err, hook.Refused, "backup b1 is damaged: database.dump")
}

// A page of AFS's database that is damaged is copied as it is: only reading the copy finds it.
func TestADamagedPageOfAFSIsFound(t *testing.T) {
	f := newFixture(t)
	f.sqlite(t, "CREATE TABLE many (id INTEGER PRIMARY KEY, words TEXT)",
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
 INSERT INTO many SELECT i, hex(randomblob(40)) FROM n`, "CREATE INDEX words ON many (words)")
	change(t, f.Spec.AFS, func(b []byte) []byte {
		const page = 4096
		from := len(b) / page / 2 * page
		for i := range page {
			b[from+i] ^= 0x5a
		}
		return b
	})
	_, err := f.Create(t.Context(), "b1", "", "")
	wantFailure(t, err, hook.Unexpected, "AFS's database")
	if names := f.names(t); len(names) > 0 {
		t.Errorf("it failed, and there is %v", names)
	}
}
