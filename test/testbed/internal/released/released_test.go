package released

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a git repository with two commits, and the names of both.
func repository(t *testing.T) (root, first, second string) {
	t.Helper()
	root = t.TempDir()
	run(t, root, "init", "--quiet")
	put(t, filepath.Join(root, "hack", "run.sh"), "first", 0o755)
	if err := os.Symlink("hack/run.sh", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	first = commit(t, root)
	put(t, filepath.Join(root, "hack", "run.sh"), "second", 0o755)
	return root, first, commit(t, root)
}

func commit(t *testing.T, root string) string {
	t.Helper()
	run(t, root, "add", "--all")
	run(t, root, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "change")
	return run(t, root, "rev-parse", "HEAD")
}

func run(t *testing.T, root string, args ...string) string {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir = root
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

func put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestSource(t *testing.T) {
	root, first, _ := repository(t)
	cacheDir := t.TempDir()
	dir, err := Source(t.Context(), root, cacheDir, first[:10])
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || string(content) != "first" {
		t.Errorf("the source of the first commit has %q, %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "hack", "run.sh")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("the script is not executable: %v, %v", info, err)
	}

	// What is in the cache is not read from the history again.
	put(t, filepath.Join(dir, "mark"), "", 0o600)
	again, err := Source(t.Context(), root, cacheDir, first)
	if err != nil || again != dir {
		t.Fatalf("got %s, %v, want %s", again, err, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "mark")); err != nil {
		t.Errorf("the source was made again: %v", err)
	}
}

func TestSourceSaysWhatToDo(t *testing.T) {
	root, first, _ := repository(t)
	shallow := filepath.Join(t.TempDir(), "shallow")
	run(t, root, "clone", "--quiet", "--depth", "1", "file://"+root, shallow)
	for name, test := range map[string]struct{ root, revision, want string }{
		"a shallow clone":          {shallow, first, "git fetch --unshallow"},
		"the release is not there": {root, Version, "is not in the history of " + root},
		"an unknown revision":      {root, "no-such-revision", "is not in the history of " + root},
		"no checkout":              {t.TempDir(), first, "must be a git checkout with its history"},
		"an option of git":         {root, "--all", "is not in the history of " + root},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(test.root))
			cacheDir := t.TempDir()
			dir, err := Source(t.Context(), test.root, cacheDir, test.revision)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v, want %q", dir, err, test.want)
			}
			if left, _ := filepath.Glob(filepath.Join(cacheDir, "source", "*[0-9a-f]")); len(left) > 0 {
				t.Errorf("left in the cache: %v", left)
			}
		})
	}
}

// The released version's own files: what the testbed builds of it must be there.
func TestReleasedVersion(t *testing.T) {
	dir, err := Source(t.Context(), "../../../..", t.TempDir(), Version)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "plugin.yaml"))
	if err != nil || !strings.Contains(string(manifest), `version: "`+Version+`"`) {
		t.Errorf("plugin.yaml does not name version %s: %v\n%s", Version, err, manifest)
	}
}
