package afs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/contract"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
)

func run(t *testing.T, program func(*process.Process) error, content string, env map[string]string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return program(&process.Process{
		Name: "test", Args: []string{file}, Log: slog.New(slog.DiscardHandler),
		Lookup: func(name string) (string, bool) { value, set := env[name]; return value, set },
	})
}

func TestControllerRefuses(t *testing.T) {
	for _, test := range []struct{ title, content, want string }{
		{"no path", "[server]\nlisten='0.0.0.0:9100'\n", "storage.db_path is missing"},
		{"no address", "[storage]\ndb_path='x'\n", "server.listen: is missing"},
		{"loopback", "[server]\nlisten='127.0.0.1:9100'\n[storage]\ndb_path='x'\n", "can't be reached by other pods"},
		{"misspelt", "[server]\nlisten='0.0.0.0:9100'\n[storage]\ndb_file='x'\n", "unknown key storage.db_file"},
		{"no TOML", "server: {}\n", "read "},
		{"no volume", "[server]\nlisten='0.0.0.0:9100'\n[storage]\ndb_path='/nowhere/c.db'\n", "is /nowhere a writable volume?"},
	} {
		t.Run(test.title, func(t *testing.T) {
			err := run(t, Controller, test.content, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestSecondWriterRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "controller.db")
	first, err := openDatabase(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDatabase(t.Context(), path); err == nil || !strings.Contains(err.Error(), "has another writer") {
		t.Errorf("a second writer: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openDatabase(t.Context(), path)
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	defer again.Close() //nolint:errcheck // A test's file.
	var opened int
	if err := again.db.QueryRowContext(t.Context(), "SELECT count(*) FROM sessions").Scan(&opened); err != nil || opened != 2 {
		t.Errorf("%d sessions are recorded, want 2: %v", opened, err)
	}
}

func TestFuseRefuses(t *testing.T) {
	const good = "controller_addr='afs-controller:9100'\n[server]\nlisten='0.0.0.0:9101'\n"
	for _, test := range []struct{ title, content, want string }{
		{"no controller", "[server]\nlisten='0.0.0.0:9101'\n", "controller_addr " + contract.HostPort.Check("").Error()},
		{"controller with a scheme", "[server]\nlisten='0.0.0.0:9101'\ncontroller_addr='http://afs:9100'\n", contract.HostPort.Check("http://afs:9100").Error()},
		{"empty token", good, "AFS_BOOTSTRAP_TOKEN is empty"},
	} {
		t.Run(test.title, func(t *testing.T) {
			err := run(t, Fuse, test.content, map[string]string{"AFS_BOOTSTRAP_URL": "http://cp:3000/workspace/v1/afs/mounts", "AFS_BOOTSTRAP_TOKEN": ""})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// Env runners of v0.2.0 give the sidecar no token.
func TestFuseBootstraps(t *testing.T) {
	for _, test := range []struct {
		title, authorization string
		env                  map[string]string
	}{
		{"without a token", "", nil},
		{"with a token", "Bearer tos_right", map[string]string{"AFS_BOOTSTRAP_TOKEN": "tos_right"}},
	} {
		t.Run(test.title, func(t *testing.T) {
			address, header, err := readBootstrap(&process.Process{Lookup: func(name string) (string, bool) {
				if name == "AFS_BOOTSTRAP_URL" {
					return "http://cp:3000/mounts", true
				}
				value, set := test.env[name]
				return value, set
			}})
			if err != nil || address != "http://cp:3000/mounts" || header.Get("Authorization") != test.authorization {
				t.Errorf("asks %q with %q, %v", address, header, err)
			}
		})
	}
}

func TestRowsAreShownAndChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "controller.db")
	controller, err := openDatabase(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer controller.Close() //nolint:errcheck // A test's file.
	var out strings.Builder
	if err := change(t.Context(), &out, path, []string{"INSERT INTO dirs VALUES ('77aa', 'shared', '/a')"}); err != nil {
		t.Fatal(err)
	}
	if want := "3f2a shared /data/afs/2a/3f/3f2a\n77aa shared /a\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
