package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

func planOf(release, plan string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: %[1]s-secrets
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: secrets, app.kubernetes.io/instance: %[1]s}
data: {secrets-plan.yaml: %[2]q}
`, release, plan)
}

// What both commands refuse before they look at a Secret, and what happens without a yes.
func TestSecretsCommandsThatRefuse(t *testing.T) {
	binary := filepath.Join(install(t), "bin", "helm-neutree")
	for name, tc := range map[string]struct {
		kubeconfig func(*testing.T) string
		args       []string
		input      string
		exit       int
		want       []string
	}{
		"no release": {cluster(napNamespace), []string{"check"}, "", 2, []string{
			"namespace nap has no release that says which Secrets it has: name its namespace with --namespace; if it is " +
				"the right one, upgrade the release to this version of the chart first [secrets.release]"}},
		"another release": {cluster(napNamespace, planOf("a", "{}")), []string{"check", "--release", "b"}, "", 2, []string{
			"namespace nap has no release b that says"}},
		"several releases": {cluster(napNamespace, planOf("a", "{}"), planOf("b", "{}")), []string{"rotate", "jwt"}, "", 2,
			[]string{
				"namespace nap has several releases: choose one with --release, of a, b [secrets.release]"}},
		"another version's release": {cluster(napNamespace, planOf("a", "{release: a, later: true}")), []string{"check"}, "", 2,
			[]string{"ConfigMap a-secrets in namespace nap does not fit this version of the plugin", `unknown field "later"`,
				"use the plugin of the chart's version"}},
		"an empty plan": {cluster(napNamespace, planOf("a", "{release: a}")), []string{"check"}, "", 2, []string{
			"does not fit this version of the plugin (release, record, secrets.namespace or restart is empty)"}},
		"not confirmed": {withKeys, []string{"rotate", "jwt"}, "n\n", 2, []string{
			"Secret keys: write new random values to nap-cp-secret/JWT_SECRET",
			"Rotate jwt of release neutree? [y/N] Nothing was changed."}},
		"no one to ask":        {withKeys, []string{"rotate", "jwt"}, "", 2, []string{"Nothing was changed."}},
		"a module that is off": {withKeys, []string{"rotate", "turn", "--yes"}, "", 2, []string{"[secrets.module]"}},
		"no cluster":           {noCluster, []string{"check"}, "", 1, []string{"look for the release in namespace nap"}},
		"out of time":          {withKeys, []string{"check", "--timeout", "1ns"}, "", 124, []string{"the deadline passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), binary, append([]string{"secrets", "-n", "nap"}, tc.args...)...)
			cmd.Env = append(os.Environ(), "KUBECONFIG="+tc.kubeconfig(t))
			cmd.Stdin = strings.NewReader(tc.input)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			var failed *exec.ExitError
			if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.exit {
				t.Errorf("exit code %d, want %d", got, tc.exit)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, stderr.String())
				}
			}
		})
	}
}

// cluster holds objects.
func cluster(documents ...string) func(*testing.T) string {
	return func(t *testing.T) string { return kubeconfigOf(t, kubetest.New(t, documents...).Config().Host) }
}
