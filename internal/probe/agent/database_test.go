package agent

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestInspectDatabase(t *testing.T) {
	database := pgtest.Start(t)
	inspect := func() Facts {
		t.Helper()
		t.Setenv("URL_OF_TEST", database)
		got := runOne(t, Task{Database: &Database{Variable: "URL_OF_TEST"}})
		if !got.OK() {
			t.Fatalf("%+v", got)
		}
		return got.Facts
	}
	facts := inspect()
	for name, want := range map[string]string{
		DatabaseStandby: "false", DatabaseCreate: "true", DatabasePublic: "true", DatabaseForeign: "0",
		DatabaseExtension: "available", DatabasePooled: "false", DatabaseTLS: "false", DatabaseRoleLimit: "-1",
	} {
		if facts[name] != want {
			t.Errorf("%s: %q, want %q", name, facts[name], want)
		}
	}
	if len(facts[DatabaseVersion]) != 6 || facts[DatabaseConnections] == "" || facts[DatabaseUsed] == "" {
		t.Errorf("%v", facts)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "CREATE EXTENSION pgcrypto"); err != nil {
		t.Fatal(err)
	}
	if facts := inspect(); facts[DatabaseExtension] != "own" || facts[DatabaseForeign] != "0" {
		t.Errorf("%v", facts)
	}
}

// An error never shows the URL, which holds the password.
func TestDatabaseThatIsAway(t *testing.T) {
	t.Setenv("URL_OF_TEST", "postgresql://nap:s3cret@127.0.0.1:1/nap")
	got := runOne(t, Task{Database: &Database{Variable: "URL_OF_TEST"}})
	if got.OK() || strings.Contains(got.Error, "s3cret") {
		t.Errorf("%+v", got)
	}
}
