//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/operator"
)

// second is the namespace of another release, which uses the operator of the first.
const second = "nap-second"

// secondWeb is the node port of its web interface.
const secondWeb = "30180"

// uninstalledNextTo uninstalls a release whose operator looks after the database of another release. That is refused
// until the installation says otherwise, and so is the next install. The other release loses neither data nor service
// by any of it.
func uninstalledNextTo(t *testing.T, f *faults) ending {
	wide := []string{"--set", "cloudnative-pg.config.clusterWide=true"}
	f.toBase(t, wide...)
	other := f.release.environment.release(f.helm, "neutree", second)
	t.Cleanup(func() { other.remove(t) })
	other.mustUpgrade(t, "--wait", "--set", "cloudnative-pg.enabled=false",
		"--set", "global.exposure.nodePorts.web="+secondWeb)
	other.sql(t, "SET ROLE nap;"+rows)
	tables, held, secrets, pods := other.tables(t), other.claims(t), other.secretData(t), other.podIdentities(t)
	ctx, stop := context.WithTimeout(t.Context(), longestProbe)
	defer stop()
	var asked answers
	served := make(chan struct{})
	go func() {
		defer close(served)
		asked.collect(ctx, "http://"+f.nodeIP+":"+secondWeb+"/healthz", 200*time.Millisecond)
	}()
	unharmed := func(when string) {
		t.Helper()
		for what, diff := range map[string]string{
			"tables": cmp.Diff(tables, other.tables(t)), "PVCs": cmp.Diff(held, other.claims(t)),
			"Secrets": redact(cmp.Diff(secrets, other.secretData(t))), "pods": cmp.Diff(pods, other.podIdentities(t)),
		} {
			if diff != "" {
				t.Errorf("%s: %s of the other release before and after:\n%s", when, what, diff)
			}
		}
	}

	mine := f.podIdentities(t)
	refused := f.uninstall(t.Context())
	wantRefused(t, refused, time.Minute, "Cluster "+second+"/nap-pg", operator.RemovalAnnotation+"=true",
		"nothing was stopped or deleted", "helm rollback")
	if diff := cmp.Diff(mine, f.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the refused uninstall:\n%s", diff)
	}
	unharmed("after the refused uninstall")
	// As the refusal says.
	f.rollback(t, strconv.Itoa(f.baseRevision))
	f.wantServes(t)

	f.annotateInstallation(t, operator.RemovalAnnotation, "true")
	f.mustUninstall(t)
	unharmed("after the uninstall")
	// The other database runs without an operator now: a release that brings one has to say that it is meant for that.
	refused = f.upgrade(t.Context(), slices.Concat([]string{"--wait", "--reset-values"}, wide)...)
	wantRefused(t, refused, time.Minute, "Cluster "+second+"/nap-pg", "global.upgrade.allowOperatorChange=true",
		"cloudnative-pg.config.clusterWide=true")
	unharmed("after the refused install")
	f.toBase(t, slices.Concat(wide, []string{"--set", "global.upgrade.allowOperatorChange=true"})...)
	f.wantServes(t)
	unharmed("after the release was installed again")

	// The other way round nothing depends on the release that goes.
	stop()
	<-served
	if asked.failed > 0 || asked.asked == 0 {
		t.Errorf("the other release does not serve all the while: %s", asked)
	}
	t.Logf("the other release, all the while: %s", asked)
	other.mustUninstall(t)
	f.wantServes(t)
	// The next upgrade narrows the operator to the release's own namespace: a database that hibernates needs none.
	return asBefore
}
