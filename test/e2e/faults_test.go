//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/test/soak"
)

// toTen upgrades to an image that brings ten migrations, besides those that come before them.
var toTen = []string{"--wait", "--set", "global.images.controlPlane.tag=v0.3.0"}

// soakRuns is how often each fault happens in the full suite.
const soakRuns = 10

// fault is something that happens while something is done to a release.
type fault struct {
	name string
	// happen does it on a release whose database has none of the newer migrations, and has the fault happen meanwhile. It
	// asserts what that fault must not do, and says how the release stands then.
	happen func(t *testing.T, f *faults) ending
	// testbed says that only a testbed can be broken like this, and not a user's own cluster.
	testbed bool
	// helm3 says that it happens under Helm 3, not under Helm 4.
	helm3 bool
	// short is how often it happens in the short suite. What takes minutes happens in the full suite only.
	short int
}

// ending is how a release stands after a fault.
type ending int

const (
	// isUpgraded: what was done ended well, and the release is upgraded.
	isUpgraded ending = iota
	// asBefore: what was done ended well, and the release is as it was before: it was rolled back or refused.
	asBefore
	// unfinished: it takes another operation.
	unfinished
)

func allFaults() []fault {
	faults := []fault{
		{name: "hook pod killed at a random moment", happen: during(killAnyHook, nil), short: 3},
		{name: "two upgrades at once", happen: during(upgradeTwice, nil), short: 1},
		{name: "primary deleted during the migrations", happen: during(deletePrimary, nil), short: 1},
		{name: "a node stopped", happen: during(stopNode, nil), testbed: true, short: 1},
		{name: "the operator down", happen: during(stopOperator, startOperator), short: 1},
		{name: "the API server killed", happen: during(restartAPIServer, nil), testbed: true, short: 1},
		{name: "cancelled in a migration", happen: cancelledMigrating, short: 1},
		{name: "rolled back while prepare runs", happen: rolledBackMeanwhile, short: 1},
		{name: "a restore killed, then an upgrade", happen: restoreKilled(thenUpgrade)},
		{name: "a restore killed, then uninstalled and installed", happen: restoreKilled(thenReinstall)},
		{name: "a restore killed, then restored", happen: restoreKilled(thenNothing)},
		{name: "six attempts of a failing migration", happen: failingMigration},
		{name: "uninstalled next to another release", happen: uninstalledNextTo},
		{name: "an object refused, then upgraded", happen: objectRefused(false)},
		{name: "an object refused, then rolled back", happen: objectRefused(true)},
		{name: "the backup volume full in a dump", happen: volumeFull, testbed: true},
	}
	for _, helm3 := range []bool{false, true} {
		under := ""
		if helm3 {
			under = " under Helm 3"
		}
		faults = append(faults,
			fault{name: "interrupted at a random moment" + under, happen: stopped(os.Interrupt), helm3: helm3},
			fault{name: "helm killed at a random moment" + under, happen: stopped(os.Kill), helm3: helm3},
			fault{name: "out of time at a random moment" + under, happen: outOfTime, helm3: helm3},
		)
	}
	return faults
}

// trial is one run of a fault.
type trial struct {
	fault
	run int
}

func (f trial) String() string {
	return strings.ReplaceAll(f.name, " ", "-") + "/" + strconv.Itoa(f.run)
}

// trialsOf are those of this part of the suite, in order.
func trialsOf(t *testing.T, part soak.Part, onTestbed, full bool) []trial {
	var trials []trial
	index := 0
	for _, fault := range allFaults() {
		if fault.testbed && !onTestbed {
			t.Logf("%s: not on a cluster that is no testbed", fault.name)
			continue
		}
		runs := fault.short
		if full {
			runs = soakRuns
		}
		for n := range runs {
			if part.Has(index) {
				trials = append(trials, trial{fault: fault, run: n + 1})
			}
			index++
		}
	}
	return trials
}

// TestFaults has a release upgraded, rolled back, restored and removed again and again while something breaks, and
// compares schema, ledgers, rows, PVCs, Secrets and backups after each. SOAK=1 has each fault happen soakRuns times,
// PART=N/M takes a part of that, and SEED repeats what was random in an earlier run.
func TestFaults(t *testing.T) {
	env := newEnvironment(t)
	part, err := soak.ParsePart(os.Getenv(soak.PartVariable))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := soak.ParseSeed(os.Getenv(soak.SeedVariable))
	if err != nil {
		t.Fatal(err)
	}
	full := os.Getenv("SOAK") != ""
	trials := trialsOf(t, part, os.Getenv("TESTBED") != "", full)
	t.Logf("part %s, seed %d", part, seed)
	var seen outcomes
	for _, helm := range []string{env.helm4, env.helm3} {
		of := slices.Clone(trials)
		of = slices.DeleteFunc(of, func(tr trial) bool { return tr.helm3 != (helm == env.helm3) })
		if len(of) == 0 {
			continue
		}
		group := "helm-4"
		if helm == env.helm3 {
			group = "helm-3"
		}
		t.Run(group, func(t *testing.T) {
			f := newFaults(t, env, helm)
			for _, trial := range of {
				end, began := unfinished, time.Time{}
				ok := t.Run(trial.String(), func(t *testing.T) {
					began = time.Now()
					f.number, f.rand = trial.run, soak.Rand(seed, trial.String())
					end = f.survive(t, trial.fault)
				})
				if began.IsZero() {
					// The pattern of the tests to run leaves it out.
					continue
				}
				f.broken = !ok
				seen.add(trial.name, end, ok, time.Since(began))
			}
		})
	}
	t.Logf("part %s, seed %d, faults:\n%s", part, seed, seen.table())
}

// outcomes is what became of each fault, in the order of their first runs.
type outcomes []tally

type tally struct {
	name                      string
	runs, atOnce, again, lost int
	took                      time.Duration
}

func (o *outcomes) add(name string, end ending, ok bool, took time.Duration) {
	i := slices.IndexFunc(*o, func(seen tally) bool { return seen.name == name })
	if i < 0 {
		i = len(*o)
		*o = append(*o, tally{name: name})
	}
	seen := &(*o)[i]
	seen.runs++
	seen.took += took
	switch {
	case !ok:
		seen.lost++
	case end == unfinished:
		seen.again++
	default:
		seen.atOnce++
	}
}

func (o outcomes) table() string {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\truns\tended well at once\tafter another operation\tlosses\tseconds per run")
	for _, seen := range o {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.0f\n", seen.name, seen.runs, seen.atOnce, seen.again, seen.lost,
			seen.took.Seconds()/float64(seen.runs))
	}
	w.Flush()
	return text.String()
}

// faults is the release that faults happen to.
type faults struct {
	*release
	testbed, database string
	// base are the sets of migrations that were recorded by the install, before is the schema after it, and want the
	// schema after the upgrade. image is the control plane's image of the install.
	base         []string
	before, want string
	image        string
	// baseRevision is the revision with the images of the install that toBase has left deployed.
	baseRevision int
	// peace is how long an upgrade takes that nothing disturbs.
	peace time.Duration
	// backups is a pod that sees the backups, retention how many of a kind are kept.
	backups   string
	retention int
	kept      workspace
	// number is that of the trial's run, rand what is random in it.
	number int
	rand   *rand.Rand
	// broken says that the trial before was lost, so that the release may be in any state.
	broken bool
}

// newFaults installs a release and upgrades it in peace.
func newFaults(t *testing.T, env *environment, helm string) *faults {
	f := &faults{release: env.release(helm, "neutree", "nap"), testbed: os.Getenv("TESTBED"), retention: 5}
	t.Cleanup(func() { f.purge(t) })
	f.mustUpgrade(t, "--wait")
	f.image = f.controlPlane(t)
	f.kept, _ = f.createWorkspace(t, f.wantServes(t), "kept")
	f.sql(t, "SET ROLE nap;"+rows)
	f.database = f.openDatabase(t)
	f.base = query(t, f.database, "SELECT set_hash FROM neutree.migration_sets")
	f.before = schemaOf(t, f.database)
	f.peace = f.mustUpgrade(t, toTen...).took
	f.want = schemaOf(t, f.database)
	f.backups = f.toolbox(t)
	return f
}

// survive has the fault happen, does what is left to do until the release is upgraded, and compares. It returns how the
// release stood after the fault.
func (f *faults) survive(t *testing.T, fault fault) ending {
	if f.broken {
		f.recover(t, "--stop")
		if note := f.note(t); note != nil {
			f.plugin(t, 0, "", "backup", "restore", note.Backup, "--yes")
		}
		f.mustUpgrade(t, toTen...)
	}
	forgetNewer(t, f.database, f.base)
	if diff := cmp.Diff(f.before, schemaOf(t, f.database)); diff != "" {
		t.Fatalf("the newer migrations can't be taken back; the schema after the install and now:\n%s", diff)
	}
	// As after an install: no upgrade that was taken back is one of a series of attempts with the next.
	query(t, f.database, "UPDATE neutree.migration_sets SET applied_at = clock_timestamp() RETURNING 'done'")
	before := f.possessions(t)
	end := fault.happen(t, f)
	if end == unfinished {
		f.recover(t, "--stop")
	}
	if end != isUpgraded {
		f.mustUpgrade(t, toTen...)
	}
	// Pods that were on a node that stopped wait for the migrations that this test took back: by now they are there again.
	f.wantServes(t)
	if diff := cmp.Diff(f.want, schemaOf(t, f.database)); diff != "" {
		t.Errorf("schema, ledgers and rows of an upgrade in peace and of this one:\n%s", diff)
	}
	f.wantKept(t, before)
	f.waitWorkspace(t, f.kept.ID)
	return end
}

// toBase gives the release the images of the install again, with which it has the schema of the install, and only those
// values that are given.
func (f *faults) toBase(t *testing.T, values ...string) {
	t.Helper()
	f.mustUpgrade(t, slices.Concat([]string{"--wait", "--reset-values"}, values)...)
	_, f.baseRevision = f.standing(t)
}

// standing is Helm's word for the release, and the number of its newest revision.
func (f *faults) standing(t *testing.T) (status string, revision int) {
	t.Helper()
	got := f.run(t.Context(), time.Minute, "status", f.name, "--namespace", f.namespace, "--output", "json")
	var said struct {
		Version int `json:"version"`
		Info    struct {
			Status string `json:"status"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(got.output), &said); got.err != nil || err != nil {
		t.Fatalf("helm status: %v, %v\n%s", got.err, err, got.output)
	}
	return said.Info.Status, said.Version
}

// controlPlane is the image that the control plane's Deployment asks for.
func (f *faults) controlPlane(t *testing.T) string {
	t.Helper()
	live, err := f.client.AppsV1().Deployments(f.namespace).Get(t.Context(), "nap-cp", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return live.Spec.Template.Spec.Containers[0].Image
}

// wantBack asserts that the release is back at what it was before the upgrade: nothing of the upgrade is still at work,
// and the previous services serve.
func (f *faults) wantBack(t *testing.T) {
	t.Helper()
	if left := f.hookPods(t.Context()); len(left) > 0 {
		t.Errorf("after going back pod %s is still at work", left[0].Name)
	}
	if image := f.controlPlane(t); image != f.image {
		t.Errorf("after going back the control plane's image is %s, want %s", image, f.image)
	}
	f.wantServes(t)
}

// wantServes asserts that every service is ready and that the administrator can sign in.
func (f *faults) wantServes(t *testing.T) *session {
	t.Helper()
	f.waitDeployments(t)
	// Nodes learn of new pods some time after the API server.
	eventually(t, time.Minute, "the platform answers", func(ctx context.Context) (bool, string) {
		err := ask(ctx, "http://"+f.nodeIP+":30080/healthz")
		return err == nil, fmt.Sprint(err)
	})
	return f.login(t)
}

// within is a random time shorter than limit.
func (f *faults) within(limit time.Duration) time.Duration {
	return time.Duration(f.rand.Int64N(int64(limit)))
}

// pause waits for a random time shorter than limit: what happens next happens at any moment.
func (f *faults) pause(t *testing.T, limit time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(f.within(limit)):
	}
}
