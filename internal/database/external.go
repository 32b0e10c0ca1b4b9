package database

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// PrepareExternal waits until a database that is not ours answers, and makes sure that the platform can live
// in it: what it lacks would otherwise show as a migration that fails, or as a service that does so later.
func PrepareExternal(ctx context.Context, log *slog.Logger, databaseURL string, want hook.ExternalDatabase) error {
	if err := WaitForExternalSQL(ctx, log, databaseURL); err != nil {
		return err
	}
	conn, err := migrate.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to the external database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	state, err := inspect(ctx, conn)
	if err != nil {
		return fmt.Errorf("look at the external database: %s", migrate.Reason(err))
	}
	if problems := state.problems(); len(problems) > 0 {
		return hook.Refuse(problems...)
	}
	if free := state.available(); free < want.Connections {
		log.Warn("the external database allows fewer connections than the services open under load, and those beyond will fail: raise max_connections, or the role's or the database's limit",
			"allowed", free, "opened", want.Connections)
	}
	return nil
}

// external is a finding about a database that is not ours.
func external(found, fix string) finding.Finding {
	return finding.Finding{ID: finding.DatabaseExternal, Severity: finding.Error, Value: "global.database.external", Found: found, Fix: fix}
}

// server is what a server says of itself, of one database and of the role that asks.
type server struct {
	Version         int
	Encoding        string
	Role, Database  string
	OnDatabase      bool
	OnPublic        bool
	Migrated        bool
	OwnsTables      bool
	CryptoOwner     string
	CryptoOurs      bool
	CryptoAvailable bool
	Most, Reserved  int
	RoleLimit       int
	DatabaseLimit   int
}

// An extension's comment, which the first migration writes, is its owner's to change.
const inspection = `
SELECT current_setting('server_version_num')::int / 10000 AS version,
       current_setting('server_encoding') AS encoding,
       current_user::text AS role, current_database()::text AS database,
       has_database_privilege(current_database(), 'CREATE') AS on_database,
       has_schema_privilege('public', 'CREATE') AS on_public,
       to_regclass('public.schema_migrations') IS NOT NULL AS migrated,
       coalesce((SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('public.schema_migrations')), true) AS owns_tables,
       coalesce((SELECT pg_get_userbyid(extowner)::text FROM pg_extension WHERE extname = 'pgcrypto'), '') AS crypto_owner,
       coalesce((SELECT pg_has_role(extowner, 'USAGE') FROM pg_extension WHERE extname = 'pgcrypto'), true) AS crypto_ours,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgcrypto') AS crypto_available,
       current_setting('max_connections')::int AS most,
       current_setting('superuser_reserved_connections')::int AS reserved,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit`

func inspect(ctx context.Context, conn *pgx.Conn) (server, error) {
	rows, err := conn.Query(ctx, inspection)
	if err != nil {
		return server{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[server])
}

// problems are what only its administrator can change, each with the statement that does.
func (e server) problems() []finding.Finding {
	role, database := pgx.Identifier{e.Role}.Sanitize(), pgx.Identifier{e.Database}.Sanitize()
	var problems []finding.Finding
	add := func(fix, format string, args ...any) {
		problems = append(problems, external("the external database can't be used yet: "+fmt.Sprintf(format, args...), fix))
	}
	if e.Version < migrate.OldestServer {
		add(fmt.Sprintf("upgrade it to %d or newer", migrate.OldestServer),
			"it is PostgreSQL %d, and the platform needs %d or newer", e.Version, migrate.OldestServer)
	}
	if e.Encoding != "UTF8" {
		add("make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", "database %s has the encoding %s and must have UTF8", database, e.Encoding)
	}
	if !e.OnDatabase {
		add(fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", database, role), "role %s may not make schemas", role)
	}
	if !e.OnPublic {
		add("GRANT CREATE ON SCHEMA public TO "+role, "role %s may make nothing in schema public", role)
	}
	if !e.OwnsTables {
		add("restore them as that role, or REASSIGN OWNED BY their owner TO "+role, "the platform's tables are there, but role %s does not own them", role)
	}
	switch {
	case e.CryptoOwner == "" && !e.CryptoAvailable:
		add("install the package that holds PostgreSQL's contrib modules", "the server lacks the extension pgcrypto")
	case !e.CryptoOurs && !e.Migrated:
		add(fmt.Sprintf("DROP EXTENSION pgcrypto, and role %s will make it", role),
			"extension pgcrypto belongs to role %s, and the first migration must own it", pgx.Identifier{e.CryptoOwner}.Sanitize())
	}
	return problems
}

// available is how many connections the role may open.
func (e server) available() int {
	free := e.Most - e.Reserved
	for _, limit := range []int{e.RoleLimit, e.DatabaseLimit} {
		if limit >= 0 {
			free = min(free, limit)
		}
	}
	return free
}

// refusal says what is wrong with a connection to an external database that waiting does not fix, and what to do about
// it.
// Both are empty for any other error.
func refusal(err error) (cause, fix string) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		// Authentication, an unknown database, no right to connect, an option that the server does not know.
		case "28000", "28P01", "3D000", "42501", "42704":
			return migrate.Reason(err), "correct the Secret that holds its address"
		}
		return "", ""
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "its certificate is signed by an unknown CA",
			"name a Secret with that CA's certificate in global.database.external.caSecret"
	case errors.As(err, &name):
		return name.Error(), "set global.database.external.host to a name in it, or sslmode to verify-ca"
	case errors.As(err, &invalid):
		return invalid.Error(), "renew the server's certificate, or put its CA's into global.database.external.caSecret"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "the server does not speak TLS", "turn it on there, or set global.database.external.sslmode to disable"
	}
	return "", ""
}
