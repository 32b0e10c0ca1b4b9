package rekey_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/rekey"
)

const (
	oldKey = "the-old-key-of-the-test-0123456789"
	newKey = "the-new-key-of-the-test-0123456789"
)

// The table as the platform has it, and as an earlier version has it.
const (
	inBase64 = `CREATE TABLE public.user_credentials (user_id text NOT NULL, name text NOT NULL,
  encrypted_value text NOT NULL, scope text DEFAULT 'global', updated_at timestamptz DEFAULT '2026-01-02 03:04:05+00',
  PRIMARY KEY (user_id, name));
INSERT INTO public.user_credentials (user_id, name, encrypted_value) SELECT 'u' || n %% 7, 'c' || n,
  encode(pgp_sym_encrypt('value ' || repeat('x', n %% 300) || n, '%[2]s'), 'base64') FROM generate_series(1, %[1]d) n`
	inBytes = `CREATE TABLE public.user_credentials (id text PRIMARY KEY, user_id text NOT NULL, secret bytea NOT NULL);
INSERT INTO public.user_credentials (id, user_id, secret) SELECT 'c' || n, 'u' || n %% 7,
  pgp_sym_encrypt('value ' || repeat('x', n %% 300) || n, '%[2]s') FROM generate_series(1, %[1]d) n`
)

// valuesOf reads all credentials with a key.
var valuesOf = map[string]string{
	inBase64: "SELECT name, pgp_sym_decrypt(decode(encrypted_value, 'base64'), $1) FROM public.user_credentials",
	inBytes:  "SELECT id, pgp_sym_decrypt(secret, $1) FROM public.user_credentials",
}

func database(t testing.TB, table string, credentials int) (string, *pgx.Conn) {
	t.Helper()
	url := pgtest.Start(t)
	pgtest.Exec(t, url, "CREATE EXTENSION pgcrypto")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	exec(t, conn, fmt.Sprintf(table, credentials, oldKey))
	if err := migrate.RecordKey(t.Context(), url, oldKey); err != nil {
		t.Fatal(err)
	}
	return url, conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// read are all credentials, by name.
func read(t testing.TB, conn *pgx.Conn, query, key string) map[string]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, key)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { found[name] = value; return nil }); err != nil {
		t.Fatalf("credentials can't be read: %v", err)
	}
	return found
}

func run(url string) *rekey.Rekey {
	return &rekey.Rekey{Log: slog.New(slog.DiscardHandler), DatabaseURL: url, New: newKey, Known: []string{oldKey},
		Key: hook.SecretRef{Secret: "nap-cp-secret", Key: "CREDENTIAL_ENCRYPTION_KEY"}, LockWait: 300 * time.Millisecond}
}

func wantRecord(t testing.TB, conn *pgx.Conn, key string) {
	t.Helper()
	record, err := migrate.Key(t.Context(), conn)
	if err != nil || !record.Matches(key) {
		t.Errorf("the record is not that of %s: %v", key, err)
	}
}

func TestEveryCredentialGetsTheNewKey(t *testing.T) {
	for name, table := range map[string]string{"text": inBase64, "bytes": inBytes} {
		t.Run(name, func(t *testing.T) {
			url, conn := database(t, table, 2500)
			query := valuesOf[table]
			before := read(t, conn, query, oldKey)
			for _, want := range []rekey.Result{{Encrypted: 2500}, {Already: 2500}} {
				result, err := run(url).Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, result); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(before, read(t, conn, query, newKey)); diff != "" {
					t.Errorf("other credentials than before:\n%s", diff)
				}
				wantRecord(t, conn, newKey)
			}
			var untouched int
			if table == inBase64 {
				err := conn.QueryRow(t.Context(), `SELECT count(*) FROM public.user_credentials
 WHERE scope = 'global' AND updated_at = '2026-01-02 03:04:05+00'
   AND encrypted_value = encode(decode(encrypted_value, 'base64'), 'base64')`).Scan(&untouched)
				if err != nil || untouched != 2500 {
					t.Errorf("%d credentials have their other columns and the form that PostgreSQL writes: %v", untouched, err)
				}
			}
		})
	}
}

// What was unreadable before is named and kept. What has the new key already, as after a service that was started too
// early, stays too.
func TestUnreadableCredentialsAreNamedAndKept(t *testing.T) {
	url, conn := database(t, inBase64, 10)
	const unreadable = "SELECT string_agg(encrypted_value, '|' ORDER BY name) FROM public.user_credentials " +
		"WHERE user_id = 'lost'"
	exec(t, conn, `INSERT INTO public.user_credentials (user_id, name, encrypted_value) VALUES
  ('lost', 'a', 'no base64!'), ('lost', 'b', ''), ('lost', 'c', encode('\x00ff1c5c0a0d09', 'base64')),
  ('lost', 'd', encode(pgp_sym_encrypt('hunter2', 'another key'), 'base64')),
  ('early', 'e', encode(pgp_sym_encrypt('hunter3', $1), 'base64'))`, newKey)
	values := func() (all string) {
		if err := conn.QueryRow(t.Context(), unreadable).Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := values()
	result, err := run(url).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "10 credentials are encrypted with the new key, 1 were before, and 4 could not be read with the old key and are " +
		"left as they are: user_id lost, name a; user_id lost, name b; user_id lost, name c; user_id lost, name d"
	if result.String() != want {
		t.Errorf("it says %s", result)
	}
	if values() != before {
		t.Error("an unreadable credential was changed")
	}
	exec(t, conn, "DELETE FROM public.user_credentials WHERE user_id = 'lost'")
	if got := read(t, conn, valuesOf[inBase64], newKey); len(got) != 11 || got["e"] != "hunter3" {
		t.Errorf("%v", got)
	}
	result.Unreadable = make([]string, 25)
	if !strings.HasSuffix(result.String(), "; and 5 more") {
		t.Error(result)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*testing.T, *pgx.Conn)
		code    hook.Code
		want    []string
	}{
		"another key": {func(t *testing.T, conn *pgx.Conn) {
			if err := migrate.MoveKey(t.Context(), conn, "a third key"); err != nil {
				t.Fatal(err)
			}
		}, hook.Refused, []string{"encrypted with another key than nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY",
			"[secrets.old-key]"}},
		"another table": {func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, "ALTER TABLE public.user_credentials RENAME encrypted_value TO other")
		}, hook.Refused, []string{"has no column encrypted_value or secret", "[secrets.credential-form]"}},
		"an algorithm": {func(t *testing.T, conn *pgx.Conn) {
			// A message as pgp_sym_encrypt writes it with cipher-algo=cast5.
			exec(t, conn, `UPDATE public.user_credentials
  SET encrypted_value = encode('\xc30d0403030273616c7473616c7460d20201ff', 'base64') WHERE name = 'c3'`)
		}, hook.Refused, []string{"one of them (user_id u3, name c3) can't be encrypted again", "[secrets.credential-form]"}},
		"a writer": {func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, "BEGIN")
			exec(t, conn, "UPDATE public.user_credentials SET scope = 'selected' WHERE name = 'c4'")
		}, hook.Busy, []string{"other sessions use the table public.user_credentials (pid ", "[secrets.table-busy]"}},
		"a migration": {func(t *testing.T, conn *pgx.Conn) {
			if err := migrate.Lock(t.Context(), slog.New(slog.DiscardHandler), conn, time.Second); err != nil {
				t.Fatal(err)
			}
		}, hook.Unexpected, []string{"the migration lock was not free", "[migrations.locked]"}},
		"a trigger that fails": {func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''full''; END';
CREATE TRIGGER fail BEFORE UPDATE ON public.user_credentials FOR EACH ROW EXECUTE FUNCTION fail()`)
		}, hook.Unchanged, []string{"no credential was changed: write the credentials: ", "full"}},
	} {
		t.Run(name, func(t *testing.T) {
			url, conn := database(t, inBase64, 10)
			other, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			tc.prepare(t, other)
			_, err = run(url).Run(t.Context())
			if hook.CodeOf(err) != tc.code {
				t.Errorf("exit code %d, want %d: %v", hook.CodeOf(err), tc.code, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("it does not say %q: %v", want, err)
				}
			}
			for _, key := range []string{oldKey, newKey} {
				if strings.Contains(fmt.Sprint(err), key) {
					t.Errorf("a key is shown: %v", err)
				}
			}
			_ = other.Close(t.Context())
			if record, err := migrate.Key(t.Context(), conn); err != nil || record.Matches(newKey) {
				t.Errorf("the record was moved: %v", err)
			}
		})
	}
	if _, err := run("postgresql://nap@127.0.0.1:9/nap").Run(t.Context()); hook.CodeOf(err) != hook.Unexpected {
		t.Errorf("whether anything was changed is not known: %v", err)
	}
}

// A platform that has no credentials yet has the record alone.
func TestADatabaseWithoutTheTable(t *testing.T) {
	url := pgtest.Start(t)
	result, err := run(url).Run(t.Context())
	if err != nil || result.Encrypted != 0 {
		t.Fatal(result, err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	wantRecord(t, conn, newKey)
}

// Killed at random moments, it leaves all credentials with the key of the record.
func TestKilledAtAnyMoment(t *testing.T) {
	url, conn := database(t, inBase64, 3000)
	before := read(t, conn, valuesOf[inBase64], oldKey)
	keys := []string{oldKey, newKey}
	began := time.Now()
	if _, err := run(url).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	keys[0], keys[1] = keys[1], keys[0]
	killed := 0
	for range 10 {
		moment := rand.N(whole + whole/5)
		ended := make(chan error, 1)
		go func() {
			r := run(url)
			r.Known, r.New = keys[:1], keys[1]
			_, err := r.Run(context.Background())
			ended <- err
		}()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(moment):
			pgtest.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'nap-hooks%'`)
			err := <-ended
			if err != nil {
				killed++
			}
			record, rerr := migrate.Key(t.Context(), conn)
			if rerr != nil {
				t.Fatal(rerr)
			}
			has := keys[0]
			if record.Matches(keys[1]) {
				has = keys[1]
			}
			if err == nil && has != keys[1] || hook.CodeOf(err) == hook.Unchanged && has != keys[0] {
				t.Errorf("it ended with %v, and the record says otherwise", err)
			}
			if diff := cmp.Diff(before, read(t, conn, valuesOf[inBase64], has)); diff != "" {
				t.Fatalf("killed after %s, credentials are lost:\n%s", moment, diff)
			}
			r := run(url)
			r.Known, r.New = keys[:1], keys[1]
			if _, err := r.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(before, read(t, conn, valuesOf[inBase64], keys[1])); diff != "" {
			t.Fatalf("killed after %s and run again, credentials are lost:\n%s", moment, diff)
		}
		keys[0], keys[1] = keys[1], keys[0]
	}
	t.Logf("%d of 10 runs were killed before they had ended", killed)
}

// The server sees no key: not in its log, however much it writes there, and not in its statistics.
func TestTheServerSeesNoKey(t *testing.T) {
	dsn, conn := database(t, inBase64, 1500)
	for _, setting := range []string{"log_statement = 'all'", "log_min_duration_statement = 0",
		"log_parameter_max_length = -1",
		"log_parameter_max_length_on_error = -1", "track_activity_query_size = 65536"} {
		if name, _, _ := strings.Cut(setting, " "); name != "track_activity_query_size" {
			pgtest.Exec(t, dsn, "ALTER ROLE nap SET "+setting)
			t.Cleanup(func() { pgtest.Exec(t, dsn, "ALTER ROLE nap RESET "+name) })
		}
	}
	done := make(chan struct{})
	seen := make(chan string, 1)
	go func() {
		var all strings.Builder
		for {
			select {
			case <-done:
				seen <- all.String()
				return
			default:
			}
			var queries string
			err := conn.QueryRow(context.Background(), "SELECT string_agg(query, E'\n') FROM pg_stat_activity").Scan(&queries)
			if err == nil {
				all.WriteString(queries)
			}
		}
	}()
	_, err := run(dsn).Run(t.Context())
	close(done)
	activity := <-seen
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(u.Query().Get("host"), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "UPDATE public.user_credentials AS c") || !strings.Contains(activity, "FETCH") {
		t.Fatal("the server has not logged what it was asked")
	}
	for _, key := range []string{newKey} {
		if strings.Contains(string(log), key) || strings.Contains(activity, key) {
			t.Error("the server has seen a key")
		}
	}
	// The statement by which the test has stored the credentials has the old key.
	_, after, _ := strings.Cut(string(log), "CREATE TEMPORARY TABLE neutree_credentials")
	if strings.Contains(after, oldKey) || strings.Contains(activity, oldKey) {
		t.Error("the server has seen the old key")
	}
}

func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts a Secret.
	data := filepath.Join(dir, "..data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	_, _, err := rekey.ReadKeys(dir, "")
	if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), "lacks the new key or an old one") {
		t.Error(err)
	}
	for name, key := range map[string]string{"new": newKey, "old": oldKey, "old-2": "older\n"} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	next, known, err := rekey.ReadKeys(dir, "")
	if err != nil || next != newKey || cmp.Diff([]string{oldKey, "older\n"}, known) != "" {
		t.Errorf("%s %q %v", next, known, err)
	}
	if _, _, err := rekey.ReadKeys(filepath.Join(dir, "none"), ""); hook.CodeOf(err) != hook.Usage {
		t.Error(err)
	}
}

// BenchmarkRekey compares a run with the same change made by the server, by one UPDATE in psql's place.
func BenchmarkRekey(b *testing.B) {
	const credentials = 100_000
	var ours, server time.Duration
	for b.Loop() {
		url, conn := database(b, inBase64, credentials)
		began := time.Now()
		if _, err := run(url).Run(b.Context()); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(began)
		began = time.Now()
		exec(b, conn, fmt.Sprintf(`UPDATE public.user_credentials SET encrypted_value =
  encode(pgp_sym_encrypt(pgp_sym_decrypt(decode(encrypted_value, 'base64'), '%s'), '%s'), 'base64')`, newKey, oldKey))
		server += time.Since(began)
	}
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/run")
	b.ReportMetric(server.Seconds()/float64(b.N), "s/UPDATE")
	b.ReportMetric(ours.Seconds()/server.Seconds(), "times-UPDATE")
}
