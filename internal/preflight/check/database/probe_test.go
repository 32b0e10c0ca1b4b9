package database_test

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/database"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// judge looks at a real database and leaves out what is true of every one of tests: that no TLS is spoken.
func judge(t *testing.T, databaseURL string, connections int) []preflight.Finding {
	t.Helper()
	facts := agent.Facts{}
	result := agent.Result{ID: "database", Facts: facts}
	if err := agent.InspectDatabase(t.Context(), databaseURL, facts); err != nil {
		result.Error = err.Error()
	}
	var findings []preflight.Finding
	for _, f := range database.Judge(&requirement.Database{Name: "nap", Connections: connections}, result) {
		if !strings.Contains(f.Found, "not encrypted") {
			findings = append(findings, f)
		}
	}
	return findings
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// superuser is the server's, on the same database.
func superuser(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("postgres")
	query := u.Query()
	if query.Has("user") {
		query.Set("user", "postgres")
		u.User, u.RawQuery = nil, query.Encode()
	}
	return connect(t, u.String())
}

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		prepare     func(t *testing.T, databaseURL string)
		connections int
		cause       string
		severity    preflight.Severity
	}{
		"a database of one's own": {},
		"an extension of somebody else's": {
			prepare: func(t *testing.T, u string) { exec(t, superuser(t, u), "CREATE EXTENSION pgcrypto") },
			cause:   "pgcrypto belongs to another role", severity: preflight.Error,
		},
		"tables of somebody else's": {
			prepare: func(t *testing.T, u string) { exec(t, superuser(t, u), "CREATE TABLE public.old (id int)") },
			cause:   "1 tables, views or sequences", severity: preflight.Error,
		},
		"a database of somebody else's": {
			prepare: func(t *testing.T, u string) {
				conn := superuser(t, u)
				exec(t, conn, "ALTER DATABASE "+conn.Config().Database+" OWNER TO postgres", "REVOKE CREATE ON DATABASE "+conn.Config().Database+" FROM PUBLIC")
			},
			cause: "may not create schemas", severity: preflight.Error,
		},
		"too few connections": {connections: 10000, cause: "the services open up to 10005", severity: preflight.Warning},
	} {
		t.Run(name, func(t *testing.T) {
			databaseURL := pgtest.Start(t)
			if test.prepare != nil {
				test.prepare(t, databaseURL)
			}
			got := judge(t, databaseURL, test.connections)
			found := false
			for _, f := range got {
				found = found || test.cause != "" && strings.Contains(f.Found, test.cause) && f.Severity == test.severity
			}
			if test.cause == "" && len(got) != 0 || test.cause != "" && !found {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNoSession(t *testing.T) {
	got := judge(t, "postgresql://nap:s3cret@127.0.0.1:1/nap", 0)
	if len(got) != 1 || !strings.Contains(got[0].Found, "no session") || strings.Contains(got[0].Found, "s3cret") {
		t.Errorf("got %+v", got)
	}
}

// What no database of tests is like is told from facts.
func TestJudgeFacts(t *testing.T) {
	good := agent.Facts{
		agent.DatabaseVersion: "160004", agent.DatabaseStandby: "false", agent.DatabaseCreate: "true", agent.DatabasePublic: "true", agent.DatabaseForeign: "0",
		agent.DatabaseExtension: "available", agent.DatabaseConnections: "300", agent.DatabaseRoleLimit: "-1", agent.DatabaseUsed: "1",
		agent.DatabaseTLS: "true", agent.DatabasePooled: "false",
	}
	for fact, test := range map[string]struct{ value, cause string }{
		agent.DatabaseVersion:   {"120018", "it is PostgreSQL 12"},
		agent.DatabaseStandby:   {"true", "standby"},
		agent.DatabasePublic:    {"false", "schema public"},
		agent.DatabaseExtension: {"absent", "can't be had"},
		agent.DatabaseRoleLimit: {"20", "20 connections left"},
		agent.DatabaseUsed:      {strconv.Itoa(200), "100 connections left"},
		agent.DatabaseTLS:       {"false", "not encrypted"},
		agent.DatabasePooled:    {"true", "pooler"},
	} {
		facts := agent.Facts{}
		for name, value := range good {
			facts[name] = value
		}
		db := &requirement.Database{Name: "nap", Connections: 123}
		if got := database.Judge(db, agent.Result{Facts: facts}); len(got) != 0 {
			t.Fatalf("good: %+v", got)
		}
		facts[fact] = test.value
		if got := database.Judge(db, agent.Result{Facts: facts}); len(got) != 1 || !strings.Contains(got[0].Found, test.cause) {
			t.Errorf("%s: got %+v", fact, got)
		}
	}
}
