package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/platform"
)

// Database asks a database what its role may do there. It changes nothing.
type Database struct {
	// Variable of the environment that holds the URL; then the fields below it count for nothing.
	Variable string `json:"variable,omitempty"`
	Host     string `json:"host,omitempty"`
	Port     int32  `json:"port,omitempty"`
	Name     string `json:"name,omitempty"`
	Mode     string `json:"sslmode,omitempty"`
	// User and Password are variables of the environment.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// RootCert is a file with the authorities that sign the server's certificate.
	RootCert string `json:"rootCert,omitempty"`
}

func (d *Database) url() string {
	raw := os.Getenv(d.Variable)
	if d.Variable == "" {
		u := url.URL{
			Scheme: "postgresql", User: url.UserPassword(os.Getenv(d.User), os.Getenv(d.Password)),
			Host: net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port))), Path: "/" + d.Name,
		}
		if d.Mode != "" {
			u.RawQuery = url.Values{"sslmode": {d.Mode}}.Encode()
		}
		raw = u.String()
	}
	if d.RootCert == "" {
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		// Whoever connects says so without showing it.
		return raw
	}
	query := u.Query()
	query.Set("sslrootcert", d.RootCert)
	u.RawQuery = platform.Query(query)
	return u.String()
}

// The facts that Database tells. All but DatabaseVersion and the counts are "true" or "false".
const (
	DatabaseVersion = "version"
	// DatabaseStandby: it takes no writes.
	DatabaseStandby = "standby"
	// DatabaseCreate: the role may make schemas in the database.
	DatabaseCreate = "create"
	// DatabasePublic: the role may make tables in the schema public.
	DatabasePublic = "public"
	// DatabaseForeign counts the tables and views of the platform's schemas that another role owns.
	DatabaseForeign = "foreign"
	// DatabaseExtension tells whether the extension pgcrypto is there and the role's own ("own"), somebody
	// else's ("foreign"), to be had ("available") or not ("absent").
	DatabaseExtension = "pgcrypto"
	// DatabaseConnections is how many connections the server takes from ordinary roles.
	DatabaseConnections = "connections"
	// DatabaseRoleLimit is how many it takes from this role; -1 for no limit.
	DatabaseRoleLimit = "limit"
	// DatabaseUsed is how many are open.
	DatabaseUsed = "used"
	// DatabaseTLS: the connection is encrypted.
	DatabaseTLS = "tls"
	// DatabasePooled: a pooler stands before the server that hands each transaction to another session.
	DatabasePooled = "pooled"
)

func (d *Database) run(ctx context.Context, facts Facts) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return InspectDatabase(ctx, d.url(), facts)
}

const inspect = `SELECT current_setting('server_version_num')::int,
  pg_is_in_recovery(),
  has_database_privilege(current_database(), 'CREATE'),
  coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), true),
  (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('public', 'channel', 'browser', 'sandbox', 'pgboss') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT pg_has_role(c.relowner, 'USAGE')),
  CASE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'pgcrypto' AND pg_has_role(extowner, 'USAGE')) THEN 'own'
       WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'pgcrypto') THEN 'foreign'
       WHEN EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = 'pgcrypto' AND (v.trusted OR NOT v.superuser
              OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))) THEN 'available'
       ELSE 'absent' END,
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`

// InspectDatabase fills facts about the database at databaseURL. An error says that it can't be reached.
func InspectDatabase(ctx context.Context, databaseURL string, facts Facts) error {
	conn, err := migrate.Connect(ctx, databaseURL)
	if err != nil {
		return errors.New(migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	var version, connections, limit int
	var foreign, used int64
	var standby, create, public bool
	var extension string
	row := conn.QueryRow(ctx, inspect)
	if err := row.Scan(&version, &standby, &create, &public, &foreign, &extension, &connections, &limit, &used); err != nil {
		return fmt.Errorf("ask for the role's rights: %w", err)
	}
	facts[DatabaseVersion] = strconv.Itoa(version)
	facts[DatabaseStandby] = strconv.FormatBool(standby)
	facts[DatabaseCreate] = strconv.FormatBool(create)
	facts[DatabasePublic] = strconv.FormatBool(public)
	facts[DatabaseForeign] = strconv.FormatInt(foreign, 10)
	facts[DatabaseExtension] = extension
	facts[DatabaseConnections] = strconv.Itoa(connections)
	facts[DatabaseRoleLimit] = strconv.Itoa(limit)
	facts[DatabaseUsed] = strconv.FormatInt(used, 10)
	facts[DatabaseTLS] = strconv.FormatBool(conn.Config().TLSConfig != nil)
	pooled, err := isPooled(ctx, conn)
	if err != nil {
		return fmt.Errorf("ask which session answers: %w", err)
	}
	facts[DatabasePooled] = strconv.FormatBool(pooled)
	return nil
}

// isPooled tells whether the server's session is another than the one that was dialled.
func isPooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return false, err
	}
	return pid != conn.PgConn().PID(), nil
}
