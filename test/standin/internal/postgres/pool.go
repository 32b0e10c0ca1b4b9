// Package postgres opens the platform's database the way its services do: pools of their sizes, a ledger
// of migrations, and the job queue's schema.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// Open makes a pool of at most size connections and opens a third of them at once, so that a database
// with too few to give is found now and not under load.
func Open(ctx context.Context, address string, size int) (*pgxpool.Pool, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("DATABASE_URL is no URL: percent-encode its user and password")
	}
	config, err := pgxpool.ParseConfig(platform.LibpqURL(u))
	if err != nil {
		return nil, errors.New("DATABASE_URL can't be understood: percent-encode its user and password")
	}
	// As the services' driver does: the file with the authority's certificate is read for each connection.
	config.BeforeConnect = func(_ context.Context, connection *pgx.ConnConfig) error {
		fresh, err := pgx.ParseConfig(platform.LibpqURL(u))
		if err == nil {
			connection.TLSConfig = fresh.TLSConfig
		}
		return err
	}
	config.MaxConns = int32(size)
	config.MaxConnIdleTime = 10 * time.Second
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, describe(config, err)
	}
	if err := warm(ctx, pool, max(1, size/3)); err != nil {
		pool.Close()
		return nil, describe(config, err)
	}
	return pool, nil
}

func warm(ctx context.Context, pool *pgxpool.Pool, n int) error {
	var held []*pgxpool.Conn
	defer func() {
		for _, conn := range held {
			conn.Release()
		}
	}()
	for range n {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		held = append(held, conn)
	}
	return nil
}

func describe(config *pgxpool.Config, err error) error {
	// The error of a connection repeats its settings but never the password.
	return fmt.Errorf("open database %s on %s:%d: %w", config.ConnConfig.Database, config.ConnConfig.Host, config.ConnConfig.Port, err)
}

// CheckCapacity refuses a database that has fewer connections than the services' pools may open.
func CheckCapacity(ctx context.Context, pool *pgxpool.Pool) error {
	var most, reserved int
	err := pool.QueryRow(ctx, `SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int`).Scan(&most, &reserved)
	if err != nil {
		return fmt.Errorf("read max_connections: %w", err)
	}
	return capacity(most, reserved)
}

func capacity(most, reserved int) error {
	needed := 0
	for _, workload := range contract.Workloads() {
		needed += workload.Pool
	}
	if most-reserved < needed {
		return fmt.Errorf("the database allows %d connections (max_connections %d less %d reserved) and the services' pools may open %d: raise max_connections", most-reserved, most, reserved, needed)
	}
	return nil
}
