package database

import (
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// unanswered is an address of this machine where nothing listens.
const unanswered = "postgresql://nap:s3cret@127.0.0.1:1/nap"

func TestWaitForSQL(t *testing.T) {
	c, _, _ := setup(t, live)
	if err := c.WaitForSQL(contextFor(t, 30*time.Second), pgtest.Start(t)); err != nil {
		t.Error(err)
	}
	err := c.WaitForSQL(contextFor(t, 200*time.Millisecond), unanswered)
	expect(t, err, hook.Deadline, "gave up waiting for PostgreSQL to answer after",
		"the operator says: Setting up primary (Creating primary instance nap-pg-1); connecting: connection refused")
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the message shows the password: %v", err)
	}
	expect(t, c.WaitForSQL(contextFor(t, time.Second), ""), hook.Usage, "DATABASE_URL is empty")
}

// An operator that looks after other namespaces leaves a Cluster as it was applied.
func TestWaitForSQLOfAnOperatorFromOutside(t *testing.T) {
	c, server, _ := setup(t, live)
	// One that has acted is waited for.
	expect(t, c.WaitForSQLElsewhere(contextFor(t, 300*time.Millisecond), unanswered, time.Millisecond), hook.Deadline,
		"Setting up primary")
	server.Put("apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap}\n")
	expect(t, c.WaitForSQLElsewhere(contextFor(t, 20*time.Second), unanswered, 100*time.Millisecond), hook.Refused,
		"no CloudNativePG operator has looked at Cluster nap-pg within 100ms", "add namespace nap to those that the operator "+
			"watches", "[cnpg.operator]")
	expect(t, c.WaitForSQLElsewhere(contextFor(t, 300*time.Millisecond), unanswered, time.Minute), hook.Deadline,
		"the operator has not looked at Cluster nap-pg yet")
	if err := c.WaitForSQLElsewhere(contextFor(t, 30*time.Second), pgtest.Start(t), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

// The operator sets the role's password from a Secret. Where the two do not agree, no wait helps.
func TestWaitForSQLTellsARefusedLogin(t *testing.T) {
	c, _, _ := setup(t, live)
	right := pgtest.WithPassword(t, pgtest.Start(t), "rotated", "the-right-one")
	wrong := strings.Replace(right, "the-right-one", "s3cret", 1)
	err := c.WaitForSQL(contextFor(t, 4*time.Second), wrong)
	expect(t, err, hook.Refused, `the database answers, and refuses the login of role "rotated"`, "28P01",
		"[database.login]")
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the message shows the password: %v", err)
	}
	if err := c.WaitForSQL(contextFor(t, 30*time.Second), right); err != nil {
		t.Error(err)
	}
}

func TestWaitForExternalSQL(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dsn := pgtest.Start(t)
	if err := WaitForExternalSQL(contextFor(t, 30*time.Second), log, dsn); err != nil {
		t.Error(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/elsewhere"
	expect(t, WaitForExternalSQL(contextFor(t, 30*time.Second), log, u.String()), hook.Refused,
		`the external database refuses the connection: database "elsewhere" does not exist (SQLSTATE 3D000): correct the Secret that holds its address [database.external]`)
	expect(t, WaitForExternalSQL(contextFor(t, 200*time.Millisecond), log, unanswered), hook.Deadline,
		"PostgreSQL to answer", "connection refused")
}
