// Package seed plays the control plane's seed scripts: rows that a new platform can't do without, written
// so that a second run changes nothing that somebody may have changed meanwhile.
package seed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/postgres"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
)

const (
	minPassword = 6
	limit       = time.Minute
	poolSize    = 3
)

// open refuses a schema that is behind: the real scripts would migrate first, without any lock.
func open(ctx context.Context, env *config.Env) (*pgxpool.Pool, error) {
	url := env.Database("DATABASE_URL")
	if err := env.Err(); err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, url, poolSize)
	if err != nil {
		return nil, err
	}
	if err := postgres.CheckSchema(ctx, pool, "migrations", "control-plane"); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Admin makes the first administrator. A username that exists is left as it is, its password too.
func Admin(p *process.Process) error {
	flags := flag.NewFlagSet("seed-admin", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	username := flags.String("username", "", "")
	password := flags.String("password", "", "")
	displayName := flags.String("display-name", "", "")
	if err := flags.Parse(p.Args); err != nil || flags.NArg() > 0 {
		return errors.New("usage: seed-admin.js --username U --password P [--display-name N]")
	}
	switch {
	case *username == "":
		return errors.New("--username is empty")
	case len(*password) < minPassword:
		return fmt.Errorf("--password must have at least %d characters", minPassword)
	}
	if *displayName == "" {
		displayName = username
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pool, err := open(ctx, config.New(p.Lookup))
	if err != nil {
		return err
	}
	defer pool.Close()
	made, err := addAdmin(ctx, pool, *username, *password, *displayName)
	if err != nil {
		return fmt.Errorf("seed the administrator: %w", err)
	}
	if !made {
		fmt.Fprintf(p.Stdout, "user %s exists already: left as it is\n", *username) //nolint:errcheck // Only a report.
		return nil
	}
	fmt.Fprintf(p.Stdout, "made administrator %s\n", *username) //nolint:errcheck // Only a report.
	return nil
}

func addAdmin(ctx context.Context, pool *pgxpool.Pool, username, password, displayName string) (bool, error) {
	var made bool
	return made, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		const base = `
INSERT INTO public.users (id, username, display_name, role) VALUES ('system', 'system', 'System', 'system') ON CONFLICT DO NOTHING;
INSERT INTO public.system_settings (id) VALUES (1) ON CONFLICT DO NOTHING;`
		if _, err := tx.Exec(ctx, base); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM public.users WHERE username = $1)`, username).Scan(&exists); err != nil || exists {
			return err
		}
		made = true
		_, err := tx.Exec(ctx, `INSERT INTO public.users (id, username, display_name, role, password_hash) VALUES ($1, $2, $3, 'admin', $4)`,
			session.NewID(), username, displayName, session.HashPassword(password))
		return err
	})
}

// OAuthClients makes the clients of those modules whose redirect URI is given, and needs an administrator
// who owns them.
func OAuthClients(p *process.Process) error {
	env := config.New(p.Lookup)
	uris := map[string]string{
		"sandbox-service": env.OptionalURL("SANDBOX_OAUTH_REDIRECT_URI"),
		"browser-service": env.OptionalURL("BROWSER_OAUTH_REDIRECT_URI"),
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pool, err := open(ctx, env)
	if err != nil {
		return err
	}
	defer pool.Close()
	for id, uri := range uris {
		if uri == "" {
			continue
		}
		if err := addOAuthClient(ctx, pool, id, uri); err != nil {
			return fmt.Errorf("seed OAuth client %s: %w", id, err)
		}
		fmt.Fprintf(p.Stdout, "OAuth client %s returns to %s\n", id, uri) //nolint:errcheck // Only a report.
	}
	return nil
}

func addOAuthClient(ctx context.Context, pool *pgxpool.Pool, id, uri string) error {
	var owner string
	err := pool.QueryRow(ctx, `SELECT id FROM public.users WHERE role = 'admin' ORDER BY created_at LIMIT 1`).Scan(&owner)
	if errors.Is(err, pgx.ErrNoRows) {
		return errors.New("there is no administrator yet: run seed-admin.js first")
	}
	if err != nil {
		return err
	}
	_, err = pool.Exec(ctx, `INSERT INTO public.oauth_clients (id, name, redirect_uris, created_by) VALUES ($1, $1, ARRAY[$2], $3)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, redirect_uris = excluded.redirect_uris`, id, uri, owner)
	return err
}

// ToolCatalog registers the control plane's own tools under the address that workspaces know it by.
func ToolCatalog(p *process.Process) error {
	env := config.New(p.Lookup)
	url := env.Check("CP_SERVICE_URL", contract.URL)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pool, err := open(ctx, env)
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, `INSERT INTO public.mcp_catalog (id, name, url, required) VALUES ('tos-platform', 'Platform', $1, true)
ON CONFLICT (id) DO UPDATE SET url = excluded.url, required = true`, url+"/mcp")
	if err != nil {
		return fmt.Errorf("seed the tool catalog: %w", err)
	}
	fmt.Fprintf(p.Stdout, "tools are at %s/mcp\n", url) //nolint:errcheck // Only a report.
	return nil
}
