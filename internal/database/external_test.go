package database

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// administer runs statements as the server's administrator in the database at dsn.
func administer(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("postgres")
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestPrepareExternal(t *testing.T) {
	for name, test := range map[string]struct {
		before      []string
		connections int
		want        []string // parts of the refusal
		warning     string
	}{
		"a fresh database":             {},
		"pgcrypto made by the role":    {before: []string{"SET ROLE nap", "CREATE EXTENSION pgcrypto"}},
		"pgcrypto made by another":     {before: []string{"CREATE EXTENSION pgcrypto"}, want: []string{`extension pgcrypto belongs to role "postgres"`, "DROP EXTENSION pgcrypto"}},
		"the same once it is migrated": {before: []string{"CREATE EXTENSION pgcrypto", "CREATE TABLE public.schema_migrations (id text)", "ALTER TABLE public.schema_migrations OWNER TO nap"}},
		"restored as another":          {before: []string{"CREATE TABLE public.schema_migrations (id text)"}, want: []string{`role "nap" does not own them`, "REASSIGN OWNED BY"}},
		"neither owner nor rights": {before: []string{"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO postgres', current_database()); END $$", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"},
			want: []string{`role "nap" may not make schemas: ALTER DATABASE "test`, `OWNER TO "nap"`, `GRANT CREATE ON SCHEMA public TO "nap"`}},
		"few connections": {connections: 1000, warning: "allows fewer connections than the services open under load"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.Start(t)
			administer(t, dsn, test.before...)
			var log bytes.Buffer
			err := PrepareExternal(contextFor(t, 30*time.Second), slog.New(slog.NewTextHandler(&log, nil)), dsn, hook.ExternalDatabase{Connections: test.connections})
			if test.want != nil {
				expect(t, err, hook.Refused, test.want...)
			} else if err != nil {
				t.Error(err)
			}
			if warned := strings.Contains(log.String(), "level=WARN"); warned != (test.warning != "") || !strings.Contains(log.String(), test.warning) {
				t.Errorf("the log does not fit, want a warning that says %q:\n%s", test.warning, log.String())
			}
		})
	}
}

func TestWhatAServerLacks(t *testing.T) {
	fine := server{Version: 17, Encoding: "UTF8", Role: "nap", Database: "nap", OnDatabase: true, OnPublic: true, OwnsTables: true, CryptoOurs: true, CryptoAvailable: true}
	for want, change := range map[string]func(*server){
		"it is PostgreSQL 12, and the platform needs 13": func(e *server) { e.Version = 12 },
		"has the encoding LATIN1 and must have UTF8":     func(e *server) { e.Encoding = "LATIN1" },
		"the server lacks the extension pgcrypto":        func(e *server) { e.CryptoAvailable = false },
	} {
		state := fine
		change(&state)
		if got := state.problems(); len(got) != 1 || !strings.Contains(got[0].Sentence(), want) {
			t.Errorf("problems = %v, want one that says %q", got, want)
		}
	}
	if got := fine.problems(); len(got) > 0 {
		t.Errorf("a server that lacks nothing: %v", got)
	}
	limited := server{Most: 100, Reserved: 3, RoleLimit: -1, DatabaseLimit: 20}
	if got := limited.available(); got != 20 {
		t.Errorf("available() = %d with a limit of 20 on the database", got)
	}
}

func TestConnectionsThatWaitingDoesNotFix(t *testing.T) {
	for want, err := range map[string]error{
		"signed by an unknown CA": fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}),
		"or sslmode to verify-ca": fmt.Errorf("tls: %w",
			x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"db"}}, Host: "postgres"}),
		"renew the server's certificate": fmt.Errorf("tls: %w", x509.CertificateInvalidError{Reason: x509.Expired}),
		"the server does not speak TLS":  errors.New("failed to connect: tls error: server refused TLS connection"),
	} {
		if cause, fix := refusal(err); !strings.Contains(cause+": "+fix, want) || fix == "" {
			t.Errorf("refusal(%v) = %q, %q, want it to say %q, and what to do", err, cause, fix, want)
		}
	}
	if cause, _ := refusal(errors.New("connection refused")); cause != "" {
		t.Errorf("a server that is down is refused for good: %s", cause)
	}
}
