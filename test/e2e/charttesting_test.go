//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
)

// source is the chart in this repository, whose ci folder holds a values file for each situation.
const source = "../../charts/neutree"

// skipped is what ct prints where it leaves out a test and ends well all the same.
var skipped = regexp.MustCompile(`(?m)^.*(Skipping upgrade test|[Uu]pgrade testing for .* skipped|New chart detected|No chart changes detected).*$`)

// ct lints the chart, installs it with every values file that CI_VALUES names, runs helm test, and uninstalls. With
// those that UPGRADES names it does the same twice more, with an upgrade from the chart's last version and one from this
// one. HELMS names the Helm versions.
func TestChartTesting(t *testing.T) {
	env := newEnvironment(t)
	env.applyCRDs(t)
	for _, version := range strings.Fields(variableOr("HELMS", "4")) {
		helm := map[string]string{"3": env.helm3, "4": env.helm4}[version]
		for _, values := range installed(t) {
			t.Run("helm-"+version+"/"+values, func(t *testing.T) {
				started := time.Now()
				ct := newChartTesting(t, env, helm, values)
				env.preparePeers(t, values)
				if values == "external-database" {
					ct.objects = env.giveDatabase(t, ct.objects)
				}
				ct.wrapKubectl(t, mustVariable(t, "KUBECTL"))
				output, err := ct.run(t.Context(), "lint")
				if err != nil {
					t.Fatalf("ct lint: %v\n%s", err, output)
				}
				install := []string{"install"}
				if upgraded(values) {
					install = append(install, "--upgrade")
				}
				output, err = ct.run(t.Context(), install...)
				if err != nil {
					t.Fatalf("ct %s: %v\n%s", strings.Join(install, " "), err, output)
				}
				if left := skipped.FindAllString(output, -1); len(left) > 0 {
					t.Errorf("ct left out what it was to test:\n%s\n%s", strings.Join(left, "\n"), output)
				}
				// From the last version, then from this one: each release is upgraded once.
				upgrades, want := strings.Count(output, "has been upgraded. Happy Helming!"), 2*(len(install)-1)
				if upgrades != want {
					t.Errorf("ct upgraded %d releases, want %d:\n%s", upgrades, want, output)
				}
				t.Logf("ct %s: %s", strings.Join(install, " "), time.Since(started).Round(time.Second))
			})
		}
	}
}

func variableOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// valuesFiles are the situations in the chart's ci folder, without "-values.yaml".
func valuesFiles(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(source, "ci", "*-values.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s/ci holds no *-values.yaml (%v)", source, err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), "-values.yaml"))
	}
	return names
}

// installed are the situations that are installed; the others are only shown to the API server.
func installed(t testing.TB) []string {
	t.Helper()
	all := valuesFiles(t)
	named := strings.Fields(variableOr("CI_VALUES", "default ingress ldap"))
	for _, name := range named {
		if !slices.Contains(all, name) {
			t.Fatalf("CI_VALUES names %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	return named
}

// upgraded says whether ct upgrades with a values file too: that takes three installs.
func upgraded(values string) bool {
	return slices.Contains(strings.Fields(variableOr("UPGRADES", "default")), values)
}

// chartTesting is a repository for ct to work in, and the programs that ct calls.
type chartTesting struct {
	program, repository, path string
	// objects and workspaceObjects are files of what is applied to each namespace that ct makes, and to that of the
	// workspaces beside it, before anything is installed. There need not be any.
	objects, workspaceObjects string
}

// newChartTesting makes a repository of two commits: the chart as of its last version, and as it is. There is no
// published version yet, so the last one is the same chart under a lower number.
func newChartTesting(t *testing.T, env *environment, helm, values string) *chartTesting {
	t.Helper()
	dir := t.TempDir()
	ct := &chartTesting{
		program:          mustVariable(t, "CT"),
		repository:       filepath.Join(dir, "repository"),
		path:             filepath.Join(dir, "programs"),
		objects:          peersFile(t, values),
		workspaceObjects: peersFile(t, values+"-workspaces"),
	}
	chart := filepath.Join(ct.repository, "charts", "neutree")
	if err := os.CopyFS(chart, os.DirFS(env.chart)); err != nil {
		t.Fatal(err)
	}
	for _, name := range valuesFiles(t) {
		if err := os.Remove(filepath.Join(chart, "ci", name+"-values.yaml")); err != nil && name == values {
			t.Fatal(err)
		}
	}
	copyFile(t, filepath.Join(source, "ci", values+"-values.yaml"), filepath.Join(chart, "ci", values+"-values.yaml"))
	for _, name := range []string{"ct.yaml", ".yamllint.yaml"} {
		copyFile(t, filepath.Join("..", "..", name), filepath.Join(ct.repository, name))
	}
	ct.git(t, "init", "--quiet")
	ct.commit(t, "the last version")
	ct.git(t, "update-ref", "refs/remotes/origin/main", "HEAD")
	raiseVersion(t, filepath.Join(chart, "Chart.yaml"))
	ct.commit(t, "this version")

	if err := os.Mkdir(ct.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(helm, filepath.Join(ct.path, "helm")); err != nil {
		t.Fatal(err)
	}
	return ct
}

// wrapKubectl makes the kubectl that ct calls bring the objects into each namespace that ct makes, which has a name at
// random, and remove with it what outlives a release elsewhere: the workspaces' namespace and their volume.
func (c *chartTesting) wrapKubectl(t *testing.T, kubectl string) {
	t.Helper()
	script := fmt.Sprintf(`#!/bin/sh
set -e
case "$*" in
*" delete namespace "*)
  # Nobody waits for services that do not hear the signal to stop.
  for namespace; do
    case "$namespace" in neutree-*) %[1]s --namespace "$namespace" delete pods --all --force --grace-period=0 2>/dev/null ;; esac
  done
  ;;
esac
%[1]s "$@"
case "$*" in
*" create namespace "*)
  for namespace; do :; done
  if [ -s '%[2]s' ]; then %[1]s --namespace "$namespace" apply --filename '%[2]s'; fi
  if [ -s '%[3]s' ]; then
    %[1]s create namespace "$namespace-workspaces"
    %[1]s --namespace "$namespace-workspaces" apply --filename '%[3]s'
  fi
  ;;
*" delete namespace "*)
  for word; do
    case "$word" in
    neutree-*)
      %[1]s delete namespace "$word-workspaces" --ignore-not-found
      %[1]s delete persistentvolume "$word-nap-shared" --ignore-not-found
      ;;
    esac
  done
  ;;
esac
`, kubectl, c.objects, c.workspaceObjects)
	if err := os.WriteFile(filepath.Join(c.path, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (c *chartTesting) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 25*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, c.program, append(args, "--config", "ct.yaml")...)
	command.Dir = c.repository
	command.Env = append(os.Environ(), "PATH="+c.path+":"+os.Getenv("PATH"))
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	return output.String(), err
}

func (c *chartTesting) git(t *testing.T, args ...string) {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir = c.repository
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@localhost", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@localhost")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func (c *chartTesting) commit(t *testing.T, message string) {
	t.Helper()
	c.git(t, "add", "--all", "--force")
	c.git(t, "commit", "--quiet", "--message", message)
}

// raiseVersion makes a chart one patch newer.
func raiseVersion(t *testing.T, path string) {
	t.Helper()
	replaceLine(t, path, "version", func(was string) string {
		version, err := semver.NewVersion(was)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		next := version.IncPatch()
		return next.String()
	})
}

// replaceLine changes a value at the top of a YAML file.
func replaceLine(t *testing.T, path, key string, change func(string) string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^` + key + `: (.+)$`)
	found := line.FindSubmatch(raw)
	if found == nil {
		t.Fatalf("%s has no %s", path, key)
	}
	changed := line.ReplaceAllLiteral(raw, []byte(key+`: "`+change(string(found[1]))+`"`))
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, fs.FileMode(0o644)); err != nil {
		t.Fatal(err)
	}
}

func mustVariable(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run these tests by `make test-e2e`", name)
	}
	return value
}
