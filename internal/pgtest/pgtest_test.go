package pgtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestStartGivesEveryTestItsOwnDatabase(t *testing.T) {
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), pgtest.Start(t))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), "CREATE TABLE same_name (id int)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
