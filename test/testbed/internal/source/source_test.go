package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, marker, "etcd"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestRootIsFoundFromBelow(t *testing.T) {
	root := checkout(t)
	t.Setenv(Env, "")
	t.Chdir(filepath.Join(root, marker, "etcd"))
	if got, err := Root(); err != nil || got != root {
		t.Errorf("got %q, %v; want %q", got, err, root)
	}
}

func TestRootThatIsNamed(t *testing.T) {
	root := checkout(t)
	t.Chdir(t.TempDir())
	t.Setenv(Env, root)
	if got, err := Root(); err != nil || got != root {
		t.Errorf("got %q, %v; want %q", got, err, root)
	}
	t.Setenv(Env, filepath.Join(root, "test"))
	if _, err := Root(); err == nil || !strings.Contains(err.Error(), Env+"="+filepath.Join(root, "test")) {
		t.Errorf("got %v, want the variable and its value", err)
	}
}

func TestRootOutsideACheckout(t *testing.T) {
	t.Setenv(Env, "")
	t.Chdir(t.TempDir())
	if _, err := Root(); err == nil || !strings.Contains(err.Error(), "run the testbed inside a checkout") {
		t.Errorf("got %v, want what to do", err)
	}
}
