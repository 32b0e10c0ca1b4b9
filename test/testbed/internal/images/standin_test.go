package images

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/ociimage"
)

// describe writes an images.yaml of entries for the named images and, for all others, ones without fault.
func describe(t *testing.T, entries map[string]string) string {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(standedIn())) {
		if entry, given := entries[name]; given {
			text.WriteString(entry)
			continue
		}
		text.WriteString("- {image: " + name + ", cmd: [run]}\n")
	}
	text.WriteString(entries[""])
	dir := t.TempDir()
	put(t, filepath.Join(dir, "images.yaml"), text.String())
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadStandinsNamesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		entries map[string]string
		want    []string
	}{
		"an image that is not described": {map[string]string{"gateway": ""}, []string{"gateway: not described"}},
		"an image nobody publishes":      {map[string]string{"": "- {image: gatweay, cmd: [run]}\n"}, []string{"gatweay: no published image is called that", "controlPlane"}},
		"an image described twice":       {map[string]string{"": "- {image: gateway, cmd: [run]}\n"}, []string{"gateway: described twice"}},
		"an entry without an image":      {map[string]string{"": "- {cmd: [run]}\n"}, []string{"entry ", " names no image"}},
		"a misspelt field":               {map[string]string{"gateway": "- {image: gateway, command: [run]}\n"}, []string{"images.yaml", `unknown field "command"`}},
		"nothing to run":                 {map[string]string{"gateway": "- {image: gateway}\n"}, []string{"gateway: has neither entrypoint nor cmd"}},
		"a user without a password file": {map[string]string{"gateway": "- {image: gateway, cmd: [run], user: node}\n"}, []string{`gateway: user "node" is a name`, "/etc/passwd"}},
		"a link to nothing":              {map[string]string{"gateway": "- {image: gateway, cmd: [run], links: {/bin/sh: \"\"}}\n"}, []string{"gateway: link /bin/sh points to nothing"}},
		"a variant without a tag":        {map[string]string{"gateway": "- {image: gateway, cmd: [run], variants: [{files: {}}]}\n"}, []string{"gateway: a variant has no tag"}},
		"a variant with the first tag":   {map[string]string{"gateway": "- {image: gateway, cmd: [run], variants: [{tag: v0.2.0}]}\n"}, []string{"gateway: tag v0.2.0 is given twice"}},
		"two faults at once":             {map[string]string{"gateway": "- {image: gateway}\n", "skills": ""}, []string{"gateway: has neither", "skills: not described"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadStandins(describe(t, test.entries))
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
	if _, err := loadStandins(t.TempDir()); err == nil || !strings.Contains(err.Error(), "images.yaml") {
		t.Errorf("without the file: got %v, want its name", err)
	}
}

func TestStandinImage(t *testing.T) {
	dir := describe(t, map[string]string{"gateway": `
- image: gateway
  workdir: /app
  entrypoint: [tini, --]
  cmd: [node, dist/index.js]
  user: "1000"
  env: {B: two, A: one}
  links: {/usr/local/bin/node: /standin}
  files: {/app/migrations: migrations, /etc/passwd: passwd}
  variants:
  - tag: next
    env: {B: three}
    files: {/app/migrations: more, /app/migrations/1.sql: other.sql}
`})
	put(t, filepath.Join(dir, "migrations", "1.sql"), "first")
	put(t, filepath.Join(dir, "migrations", "deeper", "2.sql"), "second")
	put(t, filepath.Join(dir, "more", "3.sql"), "third")
	put(t, filepath.Join(dir, "other.sql"), "replaced")
	put(t, filepath.Join(dir, "passwd"), "node")
	described, err := loadStandins(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(described, func(s standin) bool { return s.Image == "gateway" })
	binary, err := ociimage.Stored.Layer(ociimage.File{Path: standinBinary, Content: []byte("binary"), Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}

	image, err := described[at].build(dir, binary, variant{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"standin": "binary", "usr/local/bin/node": "-> /standin", "etc/passwd": "node",
		"app/migrations/1.sql": "first", "app/migrations/deeper/2.sql": "second",
	}
	if diff := cmp.Diff(want, contents(t, image)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	got := []string{config.WorkingDir, config.User, strings.Join(config.Entrypoint, " "), strings.Join(config.Cmd, " "), strings.Join(config.Env, " ")}
	if diff := cmp.Diff([]string{"/app", "1000", "tini --", "node dist/index.js", "A=one B=two"}, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}

	image, err = described[at].build(dir, binary, described[at].Variants[0])
	if err != nil {
		t.Fatal(err)
	}
	if file, err = image.ConfigFile(); err != nil || !slices.Equal(file.Config.Env, []string{"A=one", "B=three"}) {
		t.Errorf("environment of the variant: %v, %v", file.Config.Env, err)
	}
	want["app/migrations/1.sql"], want["app/migrations/3.sql"] = "replaced", "third"
	if diff := cmp.Diff(want, contents(t, image)); diff != "" {
		t.Errorf("files of the variant (-want +got):\n%s", diff)
	}
}

func TestStandinFilesMustBeThere(t *testing.T) {
	binary, err := ociimage.Stored.Layer(ociimage.File{Path: standinBinary, Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ source, want string }{
		"missing": {"migrations/none", "files /app/x:"},
		"outside": {"../../go.mod", "../../go.mod does not lie below"},
	} {
		t.Run(name, func(t *testing.T) {
			s := standin{Image: "gateway", Cmd: []string{"run"}, Files: map[string]string{"/app/x": test.source}}
			if _, err := s.build(t.TempDir(), binary, variant{}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
