package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
)

// noteOf is the folder that the Job of one attempt mounts.
func noteOf(t *testing.T, id string, workspaces ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"id": id, "workspaces": strings.Join(workspaces, "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// AFS's database fails after the platform's was replaced. Until both are, every run of the attempt says so, whatever it
// fails at, and the one that finishes it needs nothing but the same command.
func TestAFSFailsAfterThePlatform(t *testing.T) {
	f := newFixture(t)
	f.Note = noteOf(t, "attempt-1")
	wanted, dirs := f.everything(t), f.dirs(t)
	f.create(t, "b1")
	f.exec(t, damage)
	f.sqlite(t, "DELETE FROM dirs")
	afs := f.Spec.AFS
	f.Spec.AFS = filepath.Join(t.TempDir(), "no", "such", "folder.db")
	_, err := f.Restore(t.Context(), "b1", false)
	wantFailure(t, err, hook.HalfRestored, "the platform's database is restored and AFS's is not",
		"services must not run on the two",
		"run the same restore again")
	f.Spec.AFS = afs
	if diff := cmp.Diff(wanted, f.everything(t)); diff != "" {
		t.Fatalf("the platform's database is not the backup's:\n%s", diff)
	}

	// What would change nothing in a fresh attempt leaves this one as half as it was.
	_, err = f.Restore(t.Context(), "b9", false)
	wantFailure(t, err, hook.HalfRestored, "the databases are half restored: there is no backup b9")
	// Services that ran since make it another attempt.
	id := f.Note
	f.Note = noteOf(t, "attempt-2")
	_, err = f.Restore(t.Context(), "b9", false)
	wantFailure(t, err, hook.Refused, "there is no backup b9")
	f.Note = id

	if _, err := f.Restore(t.Context(), "b1", false); err != nil {
		t.Fatal(err)
	}
	if got := f.dirs(t); got != dirs {
		t.Errorf("AFS's database holds %s, not %s", got, dirs)
	}
	_, err = f.Restore(t.Context(), "b9", false)
	wantFailure(t, err, hook.Refused, "there is no backup b9")
}

// A connection that is lost while the server commits leaves the client without an answer. The server knows it.
func TestLostAnswerToTheCommit(t *testing.T) {
	f := newFixture(t)
	wanted, dirs := f.everything(t), f.dirs(t)
	f.create(t, "b1")
	f.exec(t, damage)
	f.sqlite(t, "DELETE FROM dirs")
	programs := t.TempDir()
	for _, program := range []string{"pg_dump", "pg_restore"} {
		if err := os.Symlink(filepath.Join(f.Bin, program), filepath.Join(programs, program)); err != nil {
			t.Fatal(err)
		}
	}
	psql := fmt.Sprintf("#!/bin/sh\n%s \"$@\" || exit\necho 'server closed the connection unexpectedly' >&2\nexit 2\n",
		filepath.Join(f.Bin, "psql"))
	if err := os.WriteFile(filepath.Join(programs, "psql"), []byte(psql), 0o700); err != nil {
		t.Fatal(err)
	}
	f.Bin = programs
	if _, err := f.Restore(t.Context(), "b1", false); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.said.String(), "the connection was lost after the database had been replaced") {
		t.Errorf("it does not say what happened:\n%s", f.said)
	}
	if diff := cmp.Diff(wanted, f.everything(t)); diff != "" || f.dirs(t) != dirs {
		t.Errorf("the databases are not the backup's: %s, %s", f.dirs(t), diff)
	}
}

// placements are the tables by which the platform and its env runner agree on workspaces and their tokens.
const placements = `INSERT INTO public.users (id, username, display_name, role) VALUES ('u1', 'grace', 'Grace', 'user');
INSERT INTO public.workspaces (id, owner_id, name, agent_type) SELECT id, 'u1', id, 'codex' FROM unnest(ARRAY['run', 'still', 'ahead']) id;
DROP TABLE public.workspace_placements, public.workspace_tokens;
CREATE TABLE public.workspace_placements (workspace_id text PRIMARY KEY, environment_id text NOT NULL, desired_phase text NOT NULL,
  spec jsonb NOT NULL, spec_version integer NOT NULL DEFAULT 1, observed_phase text, observed_version integer);
INSERT INTO public.workspace_placements VALUES
  ('run', 'builtin', 'running', '{"agentType": "codex", "version": 4}', 4, 'running', 4),
  ('still', 'builtin', 'stopped', '{"version": 2}', 2, 'stopped', 2),
  ('ahead', 'remote', 'running', '{"version": 1}', 1, 'running', NULL);`

const tokens = `CREATE TABLE public.workspace_tokens (id text PRIMARY KEY, workspace_id text NOT NULL, token_hash text NOT NULL UNIQUE, revoked_at timestamptz);`

// A token that a workspace got after the backup is unknown to the restored database, so the env runner has to mint
// another: it does so for every workspace whose wanted version is above the one that it has applied. A workspace that is
// newer than the backup is named.
func TestRestoreRenewsTokens(t *testing.T) {
	f := newFixture(t)
	f.exec(t, placements+tokens+`INSERT INTO public.workspace_tokens VALUES ('t1', 'run', 'hash-1')`)
	f.create(t, "b1")
	// Restarted between backup and restore, so its pod has the second token.
	f.exec(t, `UPDATE public.workspace_placements SET spec_version = 5, observed_version = 5 WHERE workspace_id = 'run';
UPDATE public.workspace_tokens SET revoked_at = now(); INSERT INTO public.workspace_tokens VALUES ('t2', 'run', 'hash-2');
INSERT INTO public.workspaces (id, owner_id, name, agent_type) VALUES ('newer', 'u1', 'newer', 'codex')`)
	f.Note = noteOf(t, "attempt-1", "newer", "run", "still")
	message, err := f.Restore(t.Context(), "b1", false)
	if err != nil {
		t.Fatal(err)
	}
	sentence, unknown, more := backup.ReadRestoreMessage(message)
	if !strings.Contains(sentence, "; 2 running workspaces are restarted with new tokens") || more != 0 {
		t.Errorf("%q, %d more", sentence, more)
	}
	if diff := cmp.Diff([]string{"newer"}, unknown); diff != "" {
		t.Errorf("unknown workspaces: %s", diff)
	}
	want := []string{"ahead 2 2 pending", "run 5 5 pending", "still 2 2 applied"}
	if diff := cmp.Diff(want, f.versions(t)); diff != "" {
		t.Error(diff)
	}
	// The database takes the token of then for valid, and does not know that of the pod.
	var known string
	conn, err := pgx.Connect(t.Context(), f.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // A test's session.
	err = conn.QueryRow(t.Context(), `SELECT string_agg(token_hash, ' ') FROM public.workspace_tokens
 WHERE revoked_at IS NULL`).Scan(&known)
	if err != nil || known != "hash-1" {
		t.Errorf("after the restore the tokens %q are valid, %v", known, err)
	}
}

// v0.2.0 has no tokens, so no workspace is restarted for one.
func TestRestoreWithoutTokensRestartsNothing(t *testing.T) {
	f := newFixture(t)
	f.exec(t, placements)
	f.create(t, "b1")
	before := f.versions(t)
	message, err := f.Restore(t.Context(), "b1", false)
	if err != nil || strings.Contains(message, "tokens") {
		t.Fatalf("%s %v", message, err)
	}
	if diff := cmp.Diff(before, f.versions(t)); diff != "" {
		t.Error(diff)
	}
}

// versions are what is wanted of each workspace, and whether the env runner has applied it.
func (f *fixture) versions(t *testing.T) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // A test's session.
	rows, err := conn.Query(t.Context(), `SELECT format('%s %s %s %s', workspace_id, spec_version, spec->>'version',
  CASE WHEN spec_version > coalesce(observed_version, 0) THEN 'pending' ELSE 'applied' END) FROM public.workspace_placements ORDER BY workspace_id`)
	if err != nil {
		t.Fatal(err)
	}
	versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return versions
}

// What a restore leaves for its client fits into a termination message, however many workspaces there are.
func TestRestoreMessageIsBounded(t *testing.T) {
	var ids []string
	for n := range 1000 {
		ids = append(ids, fmt.Sprintf("%010d", n))
	}
	message, err := backup.RestoreMessage("done", ids)
	if err != nil || len(message) > 4096 {
		t.Fatalf("%d bytes, %v", len(message), err)
	}
	sentence, unknown, more := backup.ReadRestoreMessage(message)
	if sentence != "done" || len(unknown) == 0 || len(unknown)+more != len(ids) {
		t.Errorf("%q, %d ids, %d more", sentence, len(unknown), more)
	}
	if sentence, unknown, _ := backup.ReadRestoreMessage("done"); sentence != "done" || unknown != nil {
		t.Errorf("%q, %v", sentence, unknown)
	}
}
