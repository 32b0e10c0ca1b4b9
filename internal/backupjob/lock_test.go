package backupjob_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// note is what the ConfigMap says, nil when it is gone.
func (c *cluster) note() *restorenote.Note {
	c.t.Helper()
	if c.Object(notePath) == nil {
		return nil
	}
	note, _, err := restorenote.Read(c.t.Context(), c.Client(), "nap", "nap-restore")
	if err != nil {
		c.t.Fatal(err)
	}
	return note
}

const healed = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: nap-cp
  namespace: nap
  generation: 3
  managedFields:
  - {manager: argocd-controller, operation: Apply, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:replicas": {}}}}
spec: {replicas: 2}
status: {availableReplicas: 2, observedGeneration: 3}`

const note = `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup": "%s", "safety": "s1", "replicas": {"nap-cp": 3, "afs-controller": 1}%s}'}`

// left is what a client leaves that was killed while the Job was at work.
const left = `, "phase": "restoring", "id": "i1", "holder": "grace on laptop (process 7)",
  "stopped": {"nap-cp": {"uid": "", "generation": 0}, "afs-controller": {"uid": "", "generation": 0}}`

func (c *cluster) stopped(replicas, generation int) {
	for _, name := range []string{"nap-cp", "afs-controller"} {
		c.Put(fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: nap, generation: %d}\n"+
			"spec: {replicas: %d}\nstatus: {availableReplicas: 3, observedGeneration: 9}", name, generation, replicas))
	}
}

// A client that was killed leaves the services stopped. The next one knows how many there were.
func TestRestoreOfAKilledClientIsTakenUp(t *testing.T) {
	c := newCluster(t, fmt.Sprintf(note, "b1", left))
	c.on("nap-restore", outcome{message: "backup b1 is restored"})
	c.stopped(0, 0)
	result, err := c.restore(within(t, 20*time.Second))
	if err != nil || !strings.Contains(result, "what was there before is backup s1") {
		t.Fatalf("%s %v", result, err)
	}
	want := []string{
		"scale afs-controller 0", "scale nap-cp 0", "run nap-restore",
		"scale afs-controller 1", "scale nap-cp 3", "delete note",
	}
	if diff := cmp.Diff(want, c.steps()); diff != "" {
		t.Error(diff)
	}
}

// Days later the services may have run on what the killed client left: what they wrote is saved before it is replaced.
// Kubernetes counts how often a Deployment was changed, so it shows even if they are stopped again. A note of version
// 0.1.0 does not say it.
func TestRestoreStartsOverWhenServicesRanSince(t *testing.T) {
	for name, one := range map[string]struct {
		more                 string
		replicas, generation int
		want                 string
	}{
		"they run":        {left, 2, 2, "scale nap-cp 2"},
		"they ran":        {left, 0, 4, "scale nap-cp 3"},
		"version 0.1.0":   {"", 0, 0, "scale nap-cp 3"},
		"not yet stopped": {`, "phase": "stopping", "id": "i1"`, 2, 0, "scale nap-cp 2"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, fmt.Sprintf(note, "b1", one.more))
			c.on("nap-restore", outcome{message: "backup b1 is restored"})
			c.stopped(one.replicas, one.generation)
			result, err := c.restore(within(t, 20*time.Second))
			if err != nil || !strings.Contains(result, "what was there before is backup s1, before-restore-") {
				t.Fatalf("%s %v", result, err)
			}
			steps := strings.Join(c.steps(), "; ")
			if !strings.HasPrefix(steps, "run nap-restore-check; run nap-backup; scale afs-controller 0; scale nap-cp 0; "+
				"run nap-restore; ") ||
				!strings.Contains(steps, one.want+"; delete note") {
				t.Error(steps)
			}
			if args := strings.Join(c.argsOf("nap-backup-before-restore-"), " "); !strings.HasSuffix(args, "--keep=s1 --keep=b1") {
				t.Errorf("the backup that has what users had may be deleted by its successor: %s", args)
			}
			if !strings.Contains(c.said.String(), "starts over with a new check and a new backup") {
				t.Error(c.said.String())
			}
		})
	}
}

func TestAnotherRestoreIsFinishedOrAbandoned(t *testing.T) {
	c := newCluster(t, fmt.Sprintf(note, "b0", left))
	c.stopped(0, 0)
	_, err := c.restore(within(t, 20*time.Second))
	words := "finish it with helm neutree backup restore b0 --namespace nap, or restore another backup in its place " +
		"with " +
		"helm neutree backup restore s1 --namespace nap --abandon"
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "the restore of backup b0 has not ended") ||
		!strings.Contains(err.Error(), words) {
		t.Errorf("%v", err)
	}
	if len(c.Changes()) > 0 {
		t.Errorf("refused, but changed: %v", c.steps())
	}
	// Nothing may be given up for nothing: the databases may be half restored.
	r := c.client("")
	r.Abandon = true
	if _, err = r.Run(within(t, 20*time.Second)); hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "the restore of backup b0 can't be given up without another backup") {
		t.Errorf("%v", err)
	}

	r = c.client("b1")
	r.Abandon = true
	c.on("nap-restore", outcome{message: "backup b1 is restored"})
	result, err := r.Run(within(t, 20*time.Second))
	if err != nil || !strings.HasSuffix(result, "what was there before is backup s1") {
		t.Fatalf("%s %v", result, err)
	}
	want := []string{
		"run nap-restore-check", "scale afs-controller 0", "scale nap-cp 0", "run nap-restore",
		"scale afs-controller 1", "scale nap-cp 3", "delete note",
	}
	if diff := cmp.Diff(want, c.steps()); diff != "" {
		t.Error(diff)
	}
}

func TestUntouchedRestoreIsGivenUp(t *testing.T) {
	c := newCluster(t, fmt.Sprintf(note, "b0", `, "phase": "stopping"`))
	c.stopped(0, 0)
	r := c.client("")
	r.Abandon = true
	result, err := r.Run(within(t, 20*time.Second))
	if err != nil || result != "the restore of backup b0 is given up; the databases were not touched" {
		t.Fatalf("%s %v", result, err)
	}
	if diff := cmp.Diff([]string{"scale afs-controller 1", "scale nap-cp 3", "delete note"}, c.steps()); diff != "" {
		t.Error(diff)
	}
	_, err = r.Run(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "has no unfinished restore") {
		t.Errorf("%v", err)
	}
}

// A client that was killed after both databases were restored leaves no work for another restore, which would drop what
// the services wrote since.
func TestRestoredDatabasesAreNotRestoredAgain(t *testing.T) {
	c := newCluster(t, fmt.Sprintf(note, "b1", `, "phase": "restored"`))
	c.stopped(0, 0)
	result, err := c.restore(within(t, 20*time.Second))
	if err != nil || !strings.Contains(result, "the databases had been restored before") {
		t.Fatalf("%s %v", result, err)
	}
	if diff := cmp.Diff([]string{"scale afs-controller 1", "scale nap-cp 3", "delete note"}, c.steps()); diff != "" {
		t.Error(diff)
	}
}

// Two clients of one restore: the second is refused by the first one's name, and does nothing to it.
func TestSecondClientIsRefused(t *testing.T) {
	c := newCluster(t)
	first, second := c.client("b1"), c.client("b1")
	var refused error
	c.on("nap-restore", outcome{message: "backup b1 is restored", before: func() {
		_, refused = second.Run(t.Context())
	}})
	if _, err := first.Run(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	words := fmt.Sprintf("(process %d) is at work on the restore of backup b1 in namespace nap", os.Getpid())
	if hook.CodeOf(refused) != hook.Busy || !strings.Contains(fmt.Sprint(refused), words) {
		t.Errorf("exit %d: %v", hook.CodeOf(refused), refused)
	}
	if got := c.replicas(); got != "nap-cp=2 afs-controller=1" {
		t.Error(got)
	}
}

// An upgrade that is running would start the services in the middle of a restore.
func TestRestoreWaitsForTheEndOfAnUpgrade(t *testing.T) {
	c := newCluster(t, "apiVersion: batch/v1\nkind: Job\nmetadata: {name: nap-prepare, namespace: nap}\n")
	_, err := c.restore(within(t, 20*time.Second))
	const words = "an upgrade of release neutree in namespace nap is running (Job nap-prepare)"
	if hook.CodeOf(err) != hook.Busy || !strings.Contains(fmt.Sprint(err), words) {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if c.note() != nil || c.replicas() != "nap-cp=2 afs-controller=1" {
		t.Errorf("the note is %v and replicas are %s", c.note(), c.replicas())
	}
}

// A client that was away for longer than others wait, as on a laptop that slept, leaves everything to the one that has
// taken its restore up.
func TestReplacedClientStops(t *testing.T) {
	c := newCluster(t)
	c.on("nap-restore", outcome{hang: true, before: func() {
		c.Put(fmt.Sprintf(note, "b1", left))
	}})
	_, err := c.restore(within(t, 20*time.Second))
	if hook.CodeOf(err) != hook.Busy || !strings.Contains(err.Error(), "another client has taken over") {
		t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
	}
	if c.Object(jobs+"nap-restore") == nil || c.replicas() != "nap-cp=0 afs-controller=0" || c.note() == nil {
		t.Errorf("it touched what is the other's: %v, %s", c.steps(), c.replicas())
	}
}

// A backup of two databases that may not fit together is of no use, and one that a restore depends on must stay.
func TestBackupsDuringAnUnfinishedRestore(t *testing.T) {
	const left = `apiVersion: v1
kind: ConfigMap
metadata: {name: nap-restore, namespace: nap}
data: {restore.json: '{"backup":"b1","safety":"before-restore-x","earlier":["before-restore-w"],"phase":"restoring","replicas":{}}'}
`
	c := newCluster(t, left)
	r := c.runner()
	wantRefused := func(err error, words ...string) {
		t.Helper()
		if hook.CodeOf(err) != hook.Refused {
			t.Fatalf("exit %d: %v", hook.CodeOf(err), err)
		}
		for _, word := range append(words, "the restore of backup b1 has not ended", "[backup.unfinished-restore]",
			"finish it with helm neutree backup restore b1 --namespace nap") {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the message does not say %q: %v", word, err)
			}
		}
	}
	_, err := r.CreateByHand(within(t, 10*time.Second), "b2", "by hand")
	wantRefused(err, "a backup of what is there now may hold half of two states")
	for _, name := range []string{"b1", "before-restore-x", "before-restore-w"} {
		wantRefused(r.Delete(within(t, 10*time.Second), name), "backup "+name+" may be needed to end it")
	}
	if steps := c.steps(); len(steps) > 0 {
		t.Errorf("refused, and yet it did %v", steps)
	}
	// Others may be in the way of the restore, which needs room.
	if err := r.Delete(within(t, 10*time.Second), "b0"); err != nil {
		t.Error(err)
	}
	c.Delete(notePath)
	if _, err := r.CreateByHand(within(t, 10*time.Second), "b2", "by hand"); err != nil {
		t.Error(err)
	}
}
