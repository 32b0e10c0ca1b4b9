package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// OldestServer is the first major version of PostgreSQL whose database owner may install pgcrypto.
const OldestServer = 13

// connectTimeout bounds one attempt, so that a wait can say soon what it meets.
const connectTimeout = 5 * time.Second

// setup makes a session last as long as we need it and no longer: the server's own limits on time
// are lifted, and a client that vanished is noticed even while a statement runs. The last
// settings came with PostgreSQL 14.
const setup = `SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SELECT set_config('client_connection_check_interval', '2s', false), set_config('idle_session_timeout', '0', false)
 WHERE current_setting('server_version_num')::int >= 140000`

// Connect opens one session on the database at databaseURL. When ctx ends, the statement that runs
// is cancelled on the server too.
func Connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	config, err := Config(databaseURL)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := setUp(ctx, conn); err != nil {
		Close(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// Config reads databaseURL. Its errors never show the URL, which holds a password.
func Config(databaseURL string) (*pgx.ConnConfig, error) {
	if databaseURL == "" {
		return nil, hook.Errorf(hook.Usage, "DATABASE_URL is empty: it must hold the database's address")
	}
	u, err := url.Parse(databaseURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, hook.Errorf(hook.Usage,
			"DATABASE_URL is no URL of the form postgresql://user:password@host:port/database; "+
				"characters such as @ : / # %% in a user or password must be percent-encoded")
	}
	if file := u.Query().Get("sslrootcert"); file != "" {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("DATABASE_URL names %s, the certificate that verifies the database, which can't be read: "+
				"the Secret with it does not exist, or was created after this pod: %w", file, err)
		}
	}
	config, err := pgx.ParseConfig(platform.LibpqURL(u))
	if err != nil {
		return nil, hook.Errorf(hook.Usage,
			"DATABASE_URL is not valid: its host, port, or one of the options after ? cannot be used")
	}
	// Files hold many statements, which only the simple protocol takes.
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	config.ConnectTimeout = connectTimeout
	config.DialFunc = insistently(config.DialFunc)
	config.RuntimeParams["application_name"] = applicationName()
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
	return config, nil
}

// insistently makes dial knock again sooner than the kernel does, after a second: what enforces NetworkPolicies may drop
// the first packets of a pod that it has not heard of yet, and every hook is such a pod.
func insistently(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		for patience := 100 * time.Millisecond; patience < time.Second; patience *= 2 {
			attempt, cancel := context.WithTimeout(ctx, patience)
			conn, err := dial(attempt, network, address)
			cancel()
			var timeout net.Error
			if unheard := errors.As(err, &timeout) && timeout.Timeout(); !unheard || ctx.Err() != nil {
				return conn, err
			}
		}
		return dial(ctx, network, address)
	}
}

// applicationName tells whoever looks at the database's sessions which pod this is.
func applicationName() string {
	name := "nap-hooks"
	if host, err := os.Hostname(); err == nil {
		name += " on " + host
	}
	return name[:min(len(name), 63)]
}

// Close closes a connection in good order also when ctx has ended.
func Close(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Reason says in a few words why the database did not answer.
func Reason(err error) string {
	var dns *net.DNSError
	var pg *pgconn.PgError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not known", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &pg):
		return fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
