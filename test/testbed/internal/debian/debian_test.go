package debian

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fake puts programs in front of everything else, each a script, and returns the directory they can write to.
func fake(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return dir
}

const dpkgQuery = `for name; do :; done
case $name in
there) printf installed ;;
removed) printf config-files ;;
*) echo "no packages found matching $name" >&2; exit 1 ;;
esac`

func calls(t *testing.T, dir string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(content), func(r rune) bool { return r == '\n' })
}

func TestMissing(t *testing.T) {
	fake(t, map[string]string{"dpkg-query": dpkgQuery})
	got, err := Missing(t.Context(), "there", "removed", "never-heard-of")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"removed", "never-heard-of"}, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestMissingOnAnotherSystem(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Missing(t.Context(), "runc")
	if err == nil || !strings.Contains(err.Error(), "no Debian machine") || !strings.Contains(err.Error(), "runc") {
		t.Errorf("got %v, want what is missing on which system", err)
	}
}

func TestInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		fake(t, map[string]string{"dpkg-query": dpkgQuery})
		err := Install(t.Context(), slog.New(slog.DiscardHandler), "gone")
		if err == nil || !strings.Contains(err.Error(), "run as root") {
			t.Errorf("got %v, want what to do", err)
		}
		return
	}
	for name, test := range map[string]struct {
		aptGet, problem string
		packages, want  []string
	}{
		"nothing missing": {aptGet: "exit 1", packages: []string{"there"}},
		"one missing":     {aptGet: "exit 0", packages: []string{"there", "gone"}, want: []string{"install gone"}},
		"others would have to go": {
			aptGet:   `case "$*" in *--no-remove*) echo "E: Packages need to be removed but remove is disabled." >&2; exit 100;; esac`,
			packages: []string{"gone"}, want: []string{"install gone", "update", "install gone"}, problem: "remove is disabled",
		},
		"lists are old": {
			aptGet: `case "$*" in *update) touch fresh;; *) test -e fresh;; esac`, packages: []string{"gone"},
			want: []string{"install gone", "update", "install gone"},
		},
		"no such package": {
			aptGet:   `case "$*" in *update) ;; *) echo "E: Unable to locate package gone" >&2; exit 100;; esac`,
			packages: []string{"gone"}, want: []string{"install gone", "update", "install gone"}, problem: "Unable to locate package gone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			note := `case "$*" in *update) echo update;; *install*) shift 3; for last; do :; done; echo "install $last";; esac >>calls` + "\n"
			dir := fake(t, map[string]string{"dpkg-query": dpkgQuery, "apt-get": note + test.aptGet})
			err := Install(t.Context(), slog.New(slog.DiscardHandler), test.packages...)
			if (err == nil) != (test.problem == "") || (err != nil && !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("got %v, want %q in it", err, test.problem)
			}
			if diff := cmp.Diff(test.want, calls(t, dir), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("apt-get was run for (-want +got):\n%s", diff)
			}
		})
	}
}

// What apt downloads for a machine that has nothing is what is unpacked, and its own machine plays no part.
func TestUnpackTree(t *testing.T) {
	fake(t, map[string]string{
		"apt-get": `for option; do
case $option in
Dir::State::status=*) test -e "${option#*=}" && ! test -s "${option#*=}" || exit 1 ;;
Dir::Cache::archives=*) to=${option#*=} ;;
update) exit 1 ;;
esac
done
test -d "$to/partial" && touch "$to/tool.deb" "$to/libneeded.deb"`,
		"dpkg-deb": `touch "$3/$(basename "$2")"`,
	})
	dir := t.TempDir()
	if err := UnpackTree(t.Context(), dir, "tool"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tool.deb", "libneeded.deb"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s is not unpacked: %v", name, err)
		}
	}
}
