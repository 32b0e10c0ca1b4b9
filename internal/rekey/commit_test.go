package rekey_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// slowCommit is the address of a database behind a network that breaks when the client commits. What the client has
// sent arrives later, if it arrives.
func slowCommit(t *testing.T, database string, arrives bool) string {
	t.Helper()
	to, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	network, real := pgconn.NetworkAddress(config.Host, config.Port)
	query, dir := to.Query(), t.TempDir()
	query.Set("host", dir)
	listener, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d", config.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	relay := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial(network, real)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		go func() { _, _ = io.Copy(client, server) }()
		chunk := make([]byte, 64<<10)
		for {
			n, err := client.Read(chunk)
			if err != nil {
				return
			}
			if bytes.Contains(chunk[:n], []byte("COMMIT\x00")) {
				_ = client.Close()
				time.Sleep(200 * time.Millisecond)
				if !arrives {
					return
				}
				_, _ = server.Write(chunk[:n])
				time.Sleep(200 * time.Millisecond)
				return
			}
			if _, err := server.Write(chunk[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(client)
		}
	}()
	to.RawQuery = query.Encode()
	return to.String()
}

// A COMMIT whose answer is lost may still be on its way when the client looks how it ended.
func TestTheAnswerToTheCommitIsLost(t *testing.T) {
	for name, arrives := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			url, conn := database(t, inBase64, 10)
			before := read(t, conn, valuesOf[inBase64], oldKey)
			r := run(slowCommit(t, url, arrives))
			r.LockWait = 5 * time.Second
			_, err := r.Run(t.Context())
			key, code := oldKey, hook.Unchanged
			if arrives {
				key, code = newKey, hook.OK
			}
			if hook.CodeOf(err) != code {
				t.Errorf("exit code %d, want %d: %v", hook.CodeOf(err), code, err)
			}
			wantRecord(t, conn, key)
			if after := read(t, conn, valuesOf[inBase64], key); len(after) != len(before) {
				t.Error("credentials are lost")
			}
			r.LockWait = 50 * time.Millisecond
			if _, err := r.Run(t.Context()); hook.CodeOf(err) != hook.Unexpected {
				t.Errorf("what is not known has the exit code %d: %v", hook.CodeOf(err), err)
			}
		})
	}
}

// A refusal after an earlier run has encrypted the credentials does not say that they have the old key.
func TestARefusalAfterTheCredentialsHaveTheNewKey(t *testing.T) {
	url, conn := database(t, inBase64, 10)
	if _, err := run(url).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "ALTER TABLE public.user_credentials RENAME encrypted_value TO other")
	if _, err := run(url).Run(t.Context()); hook.CodeOf(err) != hook.Unexpected {
		t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
	}
	if record, err := migrate.Key(t.Context(), conn); err != nil || !record.Matches(newKey) {
		t.Error("the record is of another key")
	}
}

// Credentials that are too large for one batch are all encrypted.
func TestLargeCredentials(t *testing.T) {
	url, conn := database(t, inBytes, 10)
	exec(t, conn, `INSERT INTO public.user_credentials (id, user_id, secret)
  SELECT 'large' || n, 'u1', pgp_sym_encrypt(repeat('0123456789abcdef', 1 << 18), $1, 'compress-algo=0')
    FROM generate_series(1, 5) n`, oldKey)
	before := read(t, conn, valuesOf[inBytes], oldKey)
	if result, err := run(url).Run(t.Context()); err != nil || result.Encrypted != 15 {
		t.Fatalf("%v, %v", result, err)
	}
	if !maps.Equal(before, read(t, conn, valuesOf[inBytes], newKey)) {
		t.Error("other credentials than before")
	}
}
