package migrate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestFailingStatementIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		sql   string
		parts []string
	}{
		"no position": {
			"CREATE TABLE first (id int);\n-- a comment; with a semicolon\n\nCREATE TABLE users (id int);\nCREATE TABLE third (id int);",
			[]string{"at line 4", `relation "users" already exists`, "SQLSTATE 42P07", `"CREATE TABLE users (id int)"`},
		},
		"position": {
			"CREATE TABLE first (id int);\nALTER TABLE users\n  ADD COLUMN x nonsense;",
			[]string{"at line 3", `type "nonsense" does not exist`, `"ALTER TABLE users ADD COLUMN x nonsense"`},
		},
		"syntax": {
			"CREATE TABLE first (id int);\nCREATE TABEL second (id int);",
			[]string{"at line 2", `syntax error at or near "TABEL"`, "SQLSTATE 42601", `"CREATE TABEL second (id int)"`},
		},
		"characters of many bytes": {
			"COMMENT ON TABLE users IS 'Größe 🙂';\nSELECT missing FROM users;",
			[]string{"at line 2", `column "missing" does not exist`, `"SELECT missing FROM users"`},
		},
		"hint": {
			"SELECT usernam FROM users;",
			[]string{"at line 1", `hint: Perhaps you meant to reference the column "users.username"`},
		},
		"inside a block": {
			"SELECT 1;\n\nDO $do$\nBEGIN\n  RAISE EXCEPTION 'boom; bang';\nEND\n$do$;",
			[]string{"at line 3", "boom; bang", "SQLSTATE P0001"},
		},
		"function body in plain SQL": {
			"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END;\nSELECT 1/0;",
			[]string{"at line 2", "division by zero", `"SELECT 1/0"`},
		},
		"long": {
			"SELECT '" + strings.Repeat("x", 400) + "', 1/0;",
			[]string{"division by zero", strings.Repeat("x", 192) + "…"},
		},
		"the key": {
			"DO $$ BEGIN RAISE EXCEPTION 'bad key %', current_setting('app.credential_encryption_key'); END $$;",
			[]string{"bad key ***"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			good := folder(t, "control-plane", nil)
			apply(t, url, good)
			before := state(t, url)

			broken := folder(t, "control-plane", files{"117_broken.sql": c.sql, "118_later.sql": "CREATE TABLE later (id int);"})
			m, said := migrator(url)
			m.CredentialKey = "secret-key"
			_, err := m.Apply(t.Context(), testSet, []hook.Migration{broken})
			wantFailure(t, err, hook.MigrationFailed, append(c.parts, "control-plane/117_broken.sql", "nothing of this file was kept", "helm upgrade")...)
			if strings.Contains(err.Error()+said.String(), m.CredentialKey) {
				t.Errorf("the key is shown: %v %s", err, said)
			}
			if diff := cmp.Diff(before, state(t, url)); diff != "" {
				t.Errorf("the failure left something behind: %s", diff)
			}

			write(t, broken.Dir, files{"117_broken.sql": "CREATE TABLE fixed (id int);"})
			if result := apply(t, url, broken); len(result.Applied) != 2 {
				t.Errorf("after fixing: applied %v", result.Applied)
			}
		})
	}
}

func TestFilesBeforeTheFailingOneStay(t *testing.T) {
	url := pgtest.Start(t)
	broken := folder(t, "control-plane", files{"117_broken.sql": "SELECT 1/0;"})
	m, _ := migrator(url)
	_, err := m.Apply(t.Context(), testSet, []hook.Migration{broken, folder(t, "gateway", nil)})
	wantFailure(t, err, hook.MigrationFailed, "117_broken.sql")
	want := []string{"001_init", "115_system_user", "116_sessions"}
	if got := ids(t, url, "public.schema_migrations"); !slices.Equal(got, want) {
		t.Errorf("ledger %v, want %v", got, want)
	}
	if got := query[string](t, open(t, url, "test"), "SELECT set_hash FROM neutree.migration_sets"); len(got) > 0 {
		t.Errorf("recorded as applied: %v", got)
	}
}

func TestNoDatabase(t *testing.T) {
	for name, c := range map[string]struct {
		url   string
		code  hook.Code
		parts []string
	}{
		"empty":              {"", hook.Usage, []string{"DATABASE_URL is empty"}},
		"no URL":             {"host=x password=hunter2", hook.Usage, []string{"DATABASE_URL is no URL"}},
		"password not coded": {"postgresql://nap:hunter2/%zz@db:5432/nap", hook.Usage, []string{"percent-encoded"}},
		"bad option":         {"postgresql://nap:hunter2@db:5432/nap?sslmode=hunter2", hook.Usage, []string{"options after ?"}},
		"no certificate": {"postgresql://nap:hunter2@db:5432/nap?sslmode=verify-full&sslrootcert=/nowhere/ca.crt", hook.Unexpected,
			[]string{"/nowhere/ca.crt", "the Secret with it does not exist"}},
		"nothing listens": {"postgresql://nap:hunter2@127.0.0.1:1/nap", hook.Unexpected, []string{"connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := migrator(c.url)
			_, err := m.Apply(t.Context(), testSet, []hook.Migration{folder(t, "gateway", nil)})
			if err == nil {
				t.Fatal("no error")
			}
			if hook.CodeOf(err) != c.code {
				t.Errorf("exit code %d, want %d", hook.CodeOf(err), c.code)
			}
			for _, part := range c.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is shown: %v", err)
			}
		})
	}
}
