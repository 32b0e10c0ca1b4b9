package migrate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// session is where files are applied one after the other, each as if it came first.
type session struct {
	url  string
	conn *pgx.Conn
}

// clean is a session without a trace of what ran in it before. One that can't be cleaned is replaced.
func (s *session) clean(ctx context.Context) (*pgx.Conn, error) {
	if s.conn != nil {
		_, err := s.conn.PgConn().Exec(ctx, "DISCARD ALL").ReadAll()
		if err == nil {
			err = setUp(ctx, s.conn)
		}
		if err == nil {
			return s.conn, nil
		}
		s.close(ctx)
	}
	conn, err := Connect(ctx, s.url)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	return conn, nil
}

// close ends the session; whatever it had not committed is rolled back.
func (s *session) close(ctx context.Context) {
	if s.conn != nil {
		Close(ctx, s.conn)
		s.conn = nil
	}
}

func setUp(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.PgConn().Exec(ctx, setup).ReadAll(); err != nil {
		return fmt.Errorf("set up the database session: %w", err)
	}
	return nil
}
