package pgpsym_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/neutree-ai/packaging/internal/pgpsym"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// server is a database with pgcrypto.
func server(t testing.TB) *pgx.Conn {
	t.Helper()
	url := pgtest.Start(t)
	pgtest.Exec(t, url, "CREATE EXTENSION pgcrypto")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func ask[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var answer T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// PostgreSQL writes messages, and reads them back under the other key.
func TestPostgreSQLReadsWhatItWroteUnderAnotherKey(t *testing.T) {
	conn := server(t)
	texts := []string{"", "hunter2", "ünï\ncode", strings.Repeat("long ", 50), strings.Repeat("x", 9000),
		strings.Repeat("more than a packet ", 20_000)}
	for _, options := range []string{"", "cipher-algo=aes192", "cipher-algo=aes256", "compress-algo=1",
		"compress-algo=2, compress-level=9", "convert-crlf=1", "unicode-mode=1", "disable-mdc=1", "sess-key=1", "sess-key=1, cipher-algo=aes256",
		"s2k-mode=0", "s2k-mode=1", "s2k-mode=3, s2k-count=1024", "s2k-digest-algo=md5", "s2k-digest-algo=sha1"} {
		t.Run(options, func(t *testing.T) {
			for _, text := range texts {
				raw := ask[[]byte](t, conn, "SELECT pgp_sym_encrypt($1, $2, $3)", text, "old key", options)
				made, err := pgpsym.Reencrypt(raw, "old key", "new kéy")
				if err != nil {
					t.Fatalf("%d bytes: %v", len(text), err)
				}
				read := "SELECT pgp_sym_decrypt($1, $2)"
				if options == "convert-crlf=1" {
					read = "SELECT pgp_sym_decrypt($1, $2, 'convert-crlf=1')"
				}
				if got := ask[string](t, conn, read, made, "new kéy"); got != text {
					t.Errorf("%d bytes: PostgreSQL reads %d others", len(text), len(got))
				}
				if _, err := pgpsym.Reencrypt(made, "old key", "x"); !errors.Is(err, pgpsym.ErrUnreadable) {
					t.Errorf("%d bytes: the old key still opens it: %v", len(text), err)
				}
			}
		})
	}
	raw := ask[[]byte](t, conn, "SELECT pgp_sym_encrypt_bytea('\\x00ff10', 'old key')")
	made, err := pgpsym.Reencrypt(raw, "old key", "new key")
	if err != nil {
		t.Fatal(err)
	}
	got := ask[[]byte](t, conn, "SELECT pgp_sym_decrypt_bytea($1, 'new key')", made)
	if !bytes.Equal(got, []byte{0, 0xff, 0x10}) {
		t.Errorf("PostgreSQL reads %x", got)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	conn := server(t)
	good := ask[[]byte](t, conn, "SELECT pgp_sym_encrypt('hunter2', 'old key')")
	for i := range good {
		damaged := bytes.Clone(good)
		damaged[i] ^= 0x04
		_, err := pgpsym.Reencrypt(damaged, "old key", "x")
		if !errors.Is(err, pgpsym.ErrUnreadable) && !errors.Is(err, pgpsym.ErrUnsupported) {
			t.Errorf("byte %d is damaged: %v", i, err)
		}
		if _, err := pgpsym.Reencrypt(good[:i], "old key", "x"); !errors.Is(err, pgpsym.ErrUnreadable) {
			t.Errorf("cut off after %d bytes: %v", i, err)
		}
	}
	if _, err := pgpsym.Reencrypt(good, "other key", "x"); !errors.Is(err, pgpsym.ErrUnreadable) {
		t.Error(err)
	}
	for _, options := range []string{"cipher-algo=3des", "cipher-algo=bf", "cipher-algo=cast5"} {
		var raw []byte
		err := conn.QueryRow(t.Context(), "SELECT pgp_sym_encrypt('hunter2', 'old key', $1)", options).Scan(&raw)
		if err != nil {
			// The server's OpenSSL may not have it any more.
			continue
		}
		if _, err := pgpsym.Reencrypt(raw, "old key", "x"); !errors.Is(err, pgpsym.ErrUnsupported) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func FuzzReencrypt(f *testing.F) {
	for _, seed := range []string{"", "\xc3\x0d\x04\x07\x03\x02saltsalt\x60\xd2\x02\x01x",
		"\x8c\x04\x04\x07\x00\x02\xa4\x01x",
		"\xc3\x04\x04\x07\x00\x02\xd2\xe0x\xff\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		made, err := pgpsym.Reencrypt(raw, "a", "b")
		if err != nil {
			return
		}
		if _, err := pgpsym.Reencrypt(made, "b", "a"); err != nil {
			t.Error(fmt.Errorf("what was made can't be read: %w", err))
		}
	})
}
