//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

// A CloudNativePG operator that is already in the cluster is named by the render before anything is made,
// and reused when the values say so; so are CRDs that another release left.
func TestOperatorAlreadyThere(t *testing.T) {
	env := newEnvironment(t)
	operator := env.release(env.helm4, "cnpg", "cnpg-system")
	t.Cleanup(func() { operator.purge(t) })
	got := operator.run(t.Context(), 3*time.Minute, "install", operator.name, filepath.Join(env.chart, "charts", "cloudnative-pg"),
		"--namespace", operator.namespace, "--create-namespace", "--wait")
	if got.err != nil {
		t.Fatalf("install the operator: %v\n%s", got.err, got.output)
	}
	env.startDatabase(t)
	r := env.release(env.helm4, "neutree", "nap-reuse")
	t.Cleanup(func() { r.purge(t) })

	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"cnpg-system", "cloudnative-pg.enabled=false")
	r.mustUpgrade(t, "--wait", "--set", "cloudnative-pg.enabled=false")
	r.login(t)
	r.mustUninstall(t)

	env.testExternal(t)

	if got := operator.uninstall(t.Context()); got.err != nil {
		t.Fatalf("uninstall the operator: %v\n%s", got.err, got.output)
	}
	wantRefused(t, r.upgrade(t.Context(), "--wait"), 30*time.Second,
		"clusters.postgresql.cnpg.io", "cnpg-system", "cloudnative-pg.crds.create=false")
}
