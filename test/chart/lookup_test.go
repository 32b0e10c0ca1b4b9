package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/chart"
)

// lookup is a call of Helm's function, with its four arguments: texts, words, or calls in parentheses.
var lookup = regexp.MustCompile(`\blookup( (?:"[^"]*"|\([^()]*\))(?: (?:"[^"]*"|\((?:[^()]|\([^()]*\))*\)|[^ ()]+)){3})`)

// A list of everything that a cluster has of a kind is too much for helm, and for Flux's controller, where users have
// enough of it: templates ask for objects by name.
func TestTemplatesLookUpObjectsByName(t *testing.T) {
	found := 0
	err := filepath.WalkDir(source, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, "/templates/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, call := range lookup.FindAllStringSubmatch(string(text), -1) {
			found++
			if strings.HasSuffix(call[1], `""`) {
				t.Errorf("%s lists objects instead of asking for one by name: lookup%s", path, call[1])
			}
		}
		if calls := strings.Count(string(text), "lookup \"") + strings.Count(string(text), "lookup ("); calls !=
			len(lookup.FindAllString(string(text), -1)) {
			t.Errorf("%s has %d lookups, and this test cannot read all of them", path, calls)
		}
		return nil
	})
	if err != nil || found < 20 {
		t.Errorf("%d lookups found, %v: the test does not see them any more", found, err)
	}
}

// An operator that the revision before contained is found by its name, so that the hooks may see who depends on it.
func TestOperatorOfTheRevisionBeforeIsFound(t *testing.T) {
	owner := func(name string) map[string]any {
		return map[string]any{"labels": map[string]any{"app.kubernetes.io/managed-by": "Helm"}, "annotations": map[string]any{
			"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace,
		}}
	}
	for name, c := range map[string]struct {
		deployment string
		owner      string
		set        []string
		want       bool
	}{
		"its own name":      {"neutree-cloudnative-pg", "neutree", nil, true},
		"another release's": {"neutree-cloudnative-pg", "other", nil, false},
		"a given name":      {"pg-operator", "neutree", []string{"cloudnative-pg.fullnameOverride=pg-operator"}, true},
		"none":              {"", "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			to := target{upgrade: true, set: append(c.set, external...), answer: func(asked chart.Lookup) map[string]any {
				switch {
				case asked.Kind == "Namespace" && asked.Name == "kube-system":
					return map[string]any{"metadata": map[string]any{}}
				case asked.Kind == "Deployment" && asked.Name == c.deployment:
					return map[string]any{"metadata": owner(c.owner)}
				}
				return nil
			}}
			sees := false
			for _, object := range renderFor(t, to).Objects {
				sees = sees || object.GetKind() == "ClusterRole" && strings.Contains(object.GetName(), "pre-install") &&
					strings.Contains(object.YAML, "- clusters\n")
			}
			if sees != c.want {
				t.Errorf("prepare may list databases: %t, want %t", sees, c.want)
			}
		})
	}
}

// Helm with --no-hooks leaves out the hook that refuses these, and would overwrite the record that it compares with.
func TestValuesThatDataDependsOnAreComparedWithoutHooks(t *testing.T) {
	record := map[string]any{"release": releaseName, "namePrefix": "nap", "workspaceNamespace": "nap-workspaces",
		"databaseName": "nap", "keysSecret": "nap-cp-secret"}
	to := target{upgrade: true, answer: func(asked chart.Lookup) map[string]any {
		if asked.Kind == "ConfigMap" && asked.Name == "neutree-installation" && asked.Namespace == namespace {
			return map[string]any{"data": record}
		}
		return nil
	}}
	renderFor(t, to)
	for name, c := range map[string]struct{ set, want, allow string }{
		"prefix": {"global.namePrefix=acme", `global.namePrefix was "nap" when the release was installed and would become "acme"`,
			"global.upgrade.allowRenames=true,global.upgrade.allowSecretChanges=true"},
		"namespace of the workspaces": {"global.workspaces.namespace=elsewhere",
			`global.workspaces.namespace was "nap-workspaces" when the release was installed and would become "elsewhere"`,
			"global.upgrade.allowRenames=true"},
		"Secret with the keys": {"global.secrets.existingSecret=mine",
			"global.secrets.existingSecret would replace Secret nap-cp-secret by mine",
			"global.upgrade.allowSecretChanges=true"},
	} {
		t.Run(name, func(t *testing.T) {
			refused, allowed := to, to
			refused.set, allowed.set = []string{c.set}, append(strings.Split(c.allow, ","), c.set)
			if _, err := tryRender(refused); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			renderFor(t, allowed)
		})
	}
	// That of another release says nothing of this one's data. The hook refuses to share the namespace.
	record["release"] = "other"
	to.set = []string{"global.namePrefix=acme"}
	renderFor(t, to)
}
