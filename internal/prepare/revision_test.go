package prepare

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

// recordOf is Helm's record of the revision that the tests upgrade to.
func recordOf(status string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.neutree.v7, namespace: nap, labels: " +
		"{owner: helm, name: neutree, status: " + status + "}}\n"
}

func earlierJob(name, revision string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s, namespace: nap, annotations: "+
		"{neutree.ai/revision: %q}}\nstatus: {active: 1}\n", name, revision)
}

// upgrading is a release with data that is upgraded to revision 7, with a migration to apply and a backup to make.
func upgrading(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, pgtest.Start(t), running)
	s.wantDone("1 migrations applied")
	s.saves()
	if err := os.WriteFile(s.folder.Dir+"/002_second.sql", []byte("CREATE TABLE second (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ran, s.folder.Set, s.spec.Migrate.Sets[0].Set = nil, "set-2", "set-2"
	s.spec.Revision, s.spec.Stop = "nap/neutree/7", []string{"nap-pull", "nap-migrate", "nap-backup"}
	s.server.Put(recordOf("pending-upgrade"))
	return s
}

func wantCancelled(t *testing.T, err error) {
	t.Helper()
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
		"revision 7 is not being installed any more (Helm's record of it says failed)") {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
}

func TestUpgradeThatWasCancelledDoesNothingMore(t *testing.T) {
	for name, tc := range map[string]struct {
		// during which Job it is cancelled, and how many Jobs ran then.
		during string
		ran    int
	}{
		"before it begins":    {"", 0},
		"while it asks":       {"--unless-pending", 1},
		"while it is saved":   {"nap-backup", 2},
		"while it's migrated": {"nap-migrate registry.test/hooks:1", 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := upgrading(t)
			if tc.during == "" {
				s.server.Put(recordOf("failed"))
			}
			s.during = func(job string) {
				if strings.HasSuffix(job, tc.during) || tc.during == "nap-backup" && strings.HasPrefix(job, tc.during) {
					s.server.Put(recordOf("failed"))
				}
			}
			_, err := s.prepare()
			wantCancelled(t, err)
			if len(s.ran) != tc.ran {
				t.Errorf("it ran %q, want %d Jobs", s.ran, tc.ran)
			}
		})
	}
}

func TestUpgradeStopsWhatAnEarlierOneLeftRunning(t *testing.T) {
	s := upgrading(t)
	s.server.Put(earlierJob("nap-migrate", "nap/neutree/6"))
	s.server.Put(earlierJob("nap-backup", ""))
	// A pod of prepare that was replaced has left it.
	s.server.Put(earlierJob("nap-pull", "nap/neutree/7"))
	s.server.Put("apiVersion: v1\nkind: Pod\nmetadata: {name: nap-migrate-x, namespace: nap, labels: " +
		"{batch.kubernetes.io/job-name: nap-migrate}}\nspec: {nodeName: node2}\nstatus: {phase: Running}\n")
	s.stopTime = 50 * time.Millisecond
	s.wantDone("1 migrations applied")
	for name, want := range map[string]bool{"nap-migrate": false, "nap-backup": false, "nap-pull": true} {
		if there := s.server.Object("/apis/batch/v1/namespaces/nap/jobs/"+name) != nil; there != want {
			t.Errorf("Job %s is there: %v, want %v", name, there, want)
		}
	}
	if !strings.Contains(s.log.String(), "pod nap-migrate-x is still there on node node2") {
		t.Errorf("the pod that does not end is not named:\n%s", s.log.String())
	}
}

// ArgoCD keeps no record, and calls each sync an install.
func TestWithoutARecordNothingIsStopped(t *testing.T) {
	s := upgrading(t)
	s.server.Delete("/api/v1/namespaces/nap/secrets/sh.helm.release.v1.neutree.v7")
	s.wantDone("nap-backup done", "1 migrations applied")
}
