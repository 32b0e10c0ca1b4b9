package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

const cp = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nap-cp, namespace: nap}\nspec: {template: {spec: {containers: [{name: control-plane, image: \"registry.test/cp:v1\"}]}}}\n"

func podOn(name, node, ready string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: nap, labels: {app: nap-cp}}\nspec: {nodeName: %s}\nstatus: {conditions: [{type: Ready, status: %q}]}\n", name, node, ready)
}

func TestPullsWhatChanges(t *testing.T) {
	s := newStage(t, "", cp, podOn("a", "node1", "True"), podOn("b", "node2", "False"), podOn("c", "node3", "True"))
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v1"}}
	s.wantDone()
	if len(s.ran) > 0 {
		t.Errorf("nothing changes, and yet it ran %v", s.ran)
	}
	s.spec.Pull.Workloads = []hook.PulledImage{
		{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v2"},
		{Deployment: "nap-sandbox", Container: "sandbox", Image: "registry.test/sandbox:v2"},
	}
	s.wantDone("2 new images are on 2 nodes")
	if got := strings.Join(s.ran, ", "); got != "nap-pull registry.test/cp:v2 registry.test/sandbox:v2" {
		t.Errorf("it ran %q", got)
	}
	s.outcome["nap-pull"] = hook.Errorf(hook.Deadline, "too slow")
	s.wantDone()
	s.outcome["nap-pull"] = &hook.Error{Code: hook.Refused, Err: &jobrun.NotStarted{Job: "nap-pull", Trouble: poddiag.Trouble{Kind: poddiag.Image, Image: "registry.test/cp:v2", Message: "not found"}}}
	if _, err := s.prepare(); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "registry.test/cp:v2 can't be pulled (not found)") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
}

const (
	pulls    = "nap-pull registry.test/cp:v2"
	asks     = "nap-migrate registry.test/hooks:1 --unless-pending"
	migrates = "nap-migrate registry.test/hooks:1"
)

// changing is a release whose database holds something, and whose new image comes with a migration.
func changing(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, pgtest.Start(t), running, cp, podOn("a", "node1", "True"))
	s.saves()
	s.wantDone("1 migrations applied")
	if err := os.WriteFile(filepath.Join(s.folder.Dir, "002_second.sql"), []byte("CREATE TABLE second (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ran, s.folder.Set, s.spec.Migrate.Sets[0].Set = nil, "set-2", "set-2"
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v2"}}
	return s
}

func TestPullsWhileItAsksWhatToMigrate(t *testing.T) {
	s := changing(t)
	pulling, asking := make(chan struct{}), make(chan struct{})
	s.during = func(job string) {
		mine, other := pulling, asking
		switch job {
		case asks:
			mine, other = asking, pulling
		case pulls:
		default:
			return
		}
		close(mine)
		select {
		case <-other:
		case <-time.After(10 * time.Second):
			t.Errorf("nothing else was at work during %q", job)
		}
	}
	s.wantDone("1 new images are on 1 nodes; nap-backup done; 1 migrations applied")
	first := slices.Sorted(slices.Values(s.ran[:2]))
	if len(s.ran) != 4 || !slices.Equal(first, []string{asks, pulls}) || !strings.HasPrefix(s.ran[2], "nap-backup ") || s.ran[3] != migrates {
		t.Errorf("it ran %q, want the pull beside the question, then the backup, then the migration", s.ran)
	}
}

func TestMigratesNothingUnlessBothEndWell(t *testing.T) {
	notPulled := func(job, image string) error {
		return &hook.Error{Code: hook.Refused, Err: &jobrun.NotStarted{Job: job, Trouble: poddiag.Trouble{Kind: poddiag.Image, Image: image, Message: "not found"}}}
	}
	for name, c := range map[string]struct {
		pull, ask error
		want      []string
		unwanted  string
	}{
		"the pull fails":     {pull: notPulled("nap-pull", "registry.test/cp:v2"), want: []string{"registry.test/cp:v2 can't be pulled (not found)"}, unwanted: "besides"},
		"the question fails": {ask: hook.Errorf(hook.Refused, "older than the database"), want: []string{"older than the database"}, unwanted: "besides"},
		"both fail": {
			pull: notPulled("nap-pull", "registry.test/cp:v2"), ask: hook.Errorf(hook.Refused, "older than the database"),
			want: []string{"registry.test/cp:v2 can't be pulled (not found)", "; besides, older than the database"},
		},
		"both want an image that is not there": {
			pull: notPulled("nap-pull", "registry.test/cp:v2"), ask: notPulled("nap-migrate", "registry.test/cp:v2"),
			want: []string{"registry.test/cp:v2 can't be pulled (not found)"}, unwanted: "besides",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := changing(t)
			s.outcome["nap-pull"], s.outcome["nap-migrate"] = c.pull, c.ask
			_, err := s.prepare()
			if hook.CodeOf(err) != hook.Refused {
				t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
			}
			for _, words := range c.want {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the reason does not say %q: %v", words, err)
				}
			}
			if c.unwanted != "" && strings.Contains(err.Error(), c.unwanted) {
				t.Errorf("one cause is told twice: %v", err)
			}
			if got := slices.Sorted(slices.Values(s.ran)); !slices.Equal(got, []string{asks, pulls}) {
				t.Errorf("it ran %q, want no backup and no migration", got)
			}
		})
	}
}

func TestAnInstallPullsNothing(t *testing.T) {
	s := newStage(t, "")
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane", Image: "registry.test/cp:v2"}}
	s.wantDone()
	if len(s.ran) > 0 {
		t.Errorf("it ran %v", s.ran)
	}
}
