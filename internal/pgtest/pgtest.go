// Package pgtest gives tests a real PostgreSQL, started once for each test process from the
// binaries that the machine has.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Start returns the URL of a fresh database. Its role owns the database and has no other rights,
// like the platform's. The database goes away with the test, the server with the process.
func Start(t testing.TB) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.exec(t, "CREATE DATABASE "+name+" OWNER nap")
	t.Cleanup(func() { s.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.url("nap", name)
}

// WithPassword makes a role that may do what the platform's may, and whose password the server asks for. It returns dsn
// with that role and password. The next call makes another role the one that is asked.
func WithPassword(t testing.TB, dsn, role, password string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	Exec(t, dsn, "DROP ROLE IF EXISTS "+role)
	Exec(t, dsn, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE nap", role, password))
	rules := fmt.Sprintf("local all %s scram-sha-256\nlocal all all trust\n", role)
	if err := os.WriteFile(filepath.Join(u.Query().Get("host"), "data", "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	Exec(t, dsn, "SELECT pg_reload_conf()")
	u.User = url.UserPassword(role, password+"-not")
	for ctx := t.Context(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(ctx, u.String())
		if err != nil && strings.Contains(err.Error(), "28P01") {
			break
		}
		if err != nil {
			t.Fatalf("the server was to ask for a password: %v", err)
		}
		_ = conn.Close(ctx)
	}
	u.User = url.UserPassword(role, password)
	return u.String()
}

// Exec runs SQL as the server's administrator in the database at dsn.
func Exec(t testing.TB, dsn, sql string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("postgres")
	run(t, u.String(), sql)
}

// Tool returns the path of one of PostgreSQL's programs, for example pg_dump.
func Tool(t testing.TB, name string) string {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, name)
}

type postgres struct {
	dir string
	// alive is the writing end of a pipe that stays open until this process is gone, however it ends.
	alive     *os.File
	databases atomic.Int64
}

// server starts the process's server on its first call.
var server = sync.OnceValues(start)

// start makes a cluster in a temporary directory and waits until it answers. It listens on a socket
// in that directory alone, so test processes never meet.
func start() (*postgres, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "pgtest-")
	if err != nil {
		return nil, err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := configure(filepath.Join(data, "postgresql.conf")); err != nil {
		return nil, err
	}
	s := &postgres{dir: dir}
	if err := s.run(bin, data, attr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres", "postgres"))
		if err == nil {
			_, err := conn.Exec(ctx, "CREATE ROLE nap LOGIN")
			return s, errors.Join(err, conn.Close(ctx))
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("the test server does not answer: %w\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// configure adds the server's settings to its file. On the command line they would count as waiting for a restart once a
// test has the server read its files again.
func configure(path string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	const settings = `
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 50
shared_buffers = 16MB
`
	_, err = file.WriteString(settings)
	return errors.Join(err, file.Close())
}

// run starts the server below a shell that outlives this process just long enough to stop the
// server and to remove the directory: a test binary has no hook that runs at its own end.
func (s *postgres) run(bin, data string, attr *syscall.SysProcAttr) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	s.alive = w
	const script = `"$1"/postgres -D "$3" -k "$2" >"$2"/log 2>&1 </dev/null &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$2"`
	sh := exec.Command("/bin/sh", "-c", script, "pgtest", bin, s.dir, data)
	sh.Dir, sh.Stdin = s.dir, r
	own := *attr
	own.Setsid = true
	sh.SysProcAttr = &own
	return sh.Start()
}

func (s *postgres) url(role, database string) string {
	u := url.URL{Scheme: "postgresql", User: url.User(role), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

func (s *postgres) exec(t testing.TB, sql string) {
	t.Helper()
	run(t, s.url("postgres", "postgres"), sql)
}

func run(t testing.TB, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// binaries finds the newest PostgreSQL that the machine has.
func binaries() (string, error) {
	best, newest := "", 0
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, initdb := range found {
		bin := filepath.Dir(initdb)
		major, err := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
		if err == nil && major > newest {
			best, newest = bin, major
		}
	}
	if best != "" {
		return best, nil
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb), nil
	}
	return "", fmt.Errorf("this test needs PostgreSQL's server programs, and none are in /usr/lib/postgresql or in PATH: run apt-get install postgresql")
}

// unprivileged returns how to start the server: PostgreSQL refuses to run as root, so there it runs
// as another user, who gets dir.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, fmt.Errorf("postgresql does not run as root, and there is neither a user postgres nor nobody to run it as")
}

// Dump is the schema of the database at dsn as pg_dump writes it, without what differs from run to run.
func Dump(t testing.TB, dsn string) string {
	t.Helper()
	out, err := exec.Command(Tool(t, "pg_dump"), "--schema-only", "--dbname", dsn).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	var b strings.Builder
	for line := range bytes.Lines(out) {
		// pg_dump writes a random key into these two lines.
		if !bytes.HasPrefix(line, []byte(`\restrict`)) && !bytes.HasPrefix(line, []byte(`\unrestrict`)) {
			b.Write(line)
		}
	}
	return b.String()
}
