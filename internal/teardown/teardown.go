// Package teardown stops the platform before its release is uninstalled. All data is kept, unless deleting it was
// asked for: then it goes after the release.
package teardown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/workspaces"
)

// Teardown stops what an uninstall would leave running or would tear from its storage. Nothing that
// it meets makes it fail: an uninstall that a person asked for must not depend on us. Only one that would take the
// operator away from databases of others is refused, before anything is stopped.
type Teardown struct {
	Log    *slog.Logger
	Client *kube.Client
	Spec   hook.TeardownSpec
	// UpgradeWait bounds the wait for what an upgrade left running; 0 means 20 seconds.
	UpgradeWait time.Duration
	// RunnerWait bounds the wait for the runner to stop; 0 means 30 seconds.
	RunnerWait time.Duration
	// DatabaseWait bounds the wait for PostgreSQL to stop; 0 means 90 seconds.
	DatabaseWait time.Duration

	warnings []finding.Finding
}

// reportTime is kept back for the report: the waits may use up all the time there is.
const reportTime = 10 * time.Second

// checkTime is kept back from the workspaces, of which there may be tens of thousands, to look whether PostgreSQL has
// stopped meanwhile.
const checkTime = 10 * time.Second

// maxKept bounds how many objects of a kind in a namespace are named as kept.
const maxKept = 20

// Run does what can be done and returns one sentence on it. Unless it is refused, the only error is that ctx was
// cancelled meanwhile, as by the drain of a node: then the rest is worth another try.
func (t *Teardown) Run(ctx context.Context) (string, error) {
	if err := t.keepOperator(ctx); err != nil {
		return "", err
	}
	summary := t.run(ctx)
	if ctx.Err() == context.Canceled {
		return summary, fmt.Errorf("cut off: %s: %w", summary, ctx.Err())
	}
	return summary, nil
}

func (t *Teardown) run(ctx context.Context) string {
	revision, uninstalling, err := t.uninstalling(ctx)
	if err != nil {
		t.warn("find the release record", err)
		return t.sum("nothing was stopped, since it can't be told whether the release is being uninstalled", nil)
	}
	if !uninstalling {
		t.Log.Info("the release is not being uninstalled: nothing to do", "release", t.Spec.Release)
		return "nothing to do: the release is not being uninstalled"
	}
	t.stopUpgrade(ctx)
	t.stopRunner(ctx)
	t.removeJobs(ctx)
	t.removeRestoreNote(ctx, t.Spec.DeleteData && armed(revision, t.Spec.Revision))
	// The workspaces may take all the time there is, so PostgreSQL is stopped meanwhile.
	cluster := t.hibernate(ctx)
	stopped := t.stopWorkspaces(ctx)
	t.removePolicy(ctx)
	hibernated := t.waitStopped(ctx, cluster)
	summary := fmt.Sprintf("%d workspaces stopped", stopped)
	if hibernated {
		summary += ", the database hibernates"
	}
	if t.Spec.DeleteData && armed(revision, t.Spec.Revision) {
		return t.sum(summary+"; all data is deleted next, as uninstall.deleteData says", nil)
	}
	reporting, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	if t.Spec.DeleteData {
		summary += "; all data is kept: " + notArmed(revision, t.Spec.Revision, t.Spec.Release)
	}
	return t.sum(summary, t.kept(reporting))
}

// armed says whether the revision that is being uninstalled is the one for which deleting the data was asked. A rollback
// brings the hooks of an older revision back, with what was asked for then, under a new number.
func armed(uninstalled, asked int) bool { return uninstalled == asked }

// notArmed says why data is kept although these hooks were made to delete it.
func notArmed(uninstalled, asked int, release string) string {
	if uninstalled == byArgo {
		return "uninstall.deleteData works with helm uninstall only"
	}
	return fmt.Sprintf("uninstall.deleteData was set for revision %d of release %s, and revision %d is being uninstalled",
		asked, release, uninstalled)
}

// sum puts what is kept last: the list may be longer than a termination message.
func (t *Teardown) sum(summary string, kept []string) string {
	if len(t.warnings) > 0 {
		var sentences []string
		for _, warning := range t.warnings {
			sentences = append(sentences, warning.Sentence())
		}
		summary += fmt.Sprintf("; warnings: %s [%s]", strings.Join(sentences, "; "), finding.TeardownIncomplete)
	}
	if len(kept) > 0 {
		summary += "; kept: " + strings.Join(kept, ", ")
	}
	t.Log.Info("teardown done", "summary", summary)
	return summary
}

func (t *Teardown) warn(what string, err error) {
	cause := kube.MissingPermission(err)
	if cause == "" {
		cause = kube.Brief(err)
	}
	t.note(what, cause)
}

func (t *Teardown) note(what, cause string) {
	t.Log.Warn(what, "cause", cause, "finding", finding.TeardownIncomplete)
	t.warnings = append(t.warnings, finding.Finding{ID: finding.TeardownIncomplete, Severity: finding.Warning, Found: what + ": " + cause})
}

// byArgo is the revision that ArgoCD uninstalls, which keeps no record.
const byArgo = 0

// uninstalling says whether the release is being uninstalled, and which revision. ArgoCD creates the Job that this runs
// in, with its own mark, only when an Application is deleted; other tools that apply a whole render leave no mark.
func (t *Teardown) uninstalling(ctx context.Context) (revision int, is bool, err error) {
	revision, is, err = beingUninstalled(ctx, t.Client, t.Spec.Namespace, t.Spec.Release)
	if err != nil || is {
		return revision, is, err
	}
	job, err := t.Client.GetMetadata(ctx, kube.Jobs, t.Spec.Namespace, t.Spec.Prefix+"-teardown")
	if apierrors.IsNotFound(err) {
		return byArgo, false, nil
	}
	if err != nil {
		return byArgo, false, err
	}
	return byArgo, job.Annotations[kube.ArgoTracking] != "", nil
}

// beingUninstalled looks for Helm's record of the release in that state. It goes by
// labels, since a rollback reuses the hooks of an older revision, which can't know the newest record's name. It returns
// the revision too.
func beingUninstalled(
	ctx context.Context, client *kube.Client, namespace, release string,
) (revision int, found bool, err error) {
	selector := labelled("owner", "helm", "name", release, "status", "uninstalling")
	for _, records := range []schema.GroupVersionResource{kube.Secrets, kube.ConfigMaps} {
		list, err := client.ListMetadata(ctx, records, namespace, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return 0, false, err
		}
		for _, record := range list {
			// Helm labels each record with its number. One without is of no revision that anything was asked for.
			number, _ := strconv.Atoi(record.Labels["version"])
			revision, found = max(revision, number), true
		}
		if found {
			return revision, true, nil
		}
	}
	return 0, false, nil
}

// stopRunner comes first: while it runs it would start the workspaces again. It waits for the pods,
// since a Deployment does not count those that are still ending.
func (t *Teardown) stopRunner(ctx context.Context) {
	name := t.Spec.Runner
	if name == "" {
		return
	}
	switch err := t.scaleToZero(ctx, kube.Deployments, t.Spec.Namespace, name); {
	case apierrors.IsNotFound(err):
		return
	case err != nil:
		t.warn("stop the runner "+name, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, orElse(t.RunnerWait, 30*time.Second))
	defer cancel()
	err := hook.Poll(ctx, t.Log, "the runner to stop", func(ctx context.Context) (bool, string, error) {
		pods, err := t.Client.ListMetadata(ctx, kube.Pods, t.Spec.Namespace, metav1.ListOptions{
			LabelSelector: labelled("app", name),
			// A pod that was evicted stays as a record.
			FieldSelector: "status.phase!=Failed,status.phase!=Succeeded",
		})
		if err != nil {
			return false, kube.Brief(err), nil
		}
		return len(pods) == 0, fmt.Sprintf("%d of its pods are left", len(pods)), nil
	})
	if err != nil {
		t.warn("stop the runner "+name, err)
	}
}

func (t *Teardown) stopWorkspaces(ctx context.Context) int {
	if t.Spec.Workspaces.Namespace == "" {
		return 0
	}
	namespace := t.Spec.Workspaces.Namespace
	if deadline, is := ctx.Deadline(); is {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-checkTime))
		defer cancel()
	}
	stopped, err := workspaces.Stop(ctx, t.Client, namespace)
	if err != nil {
		// The API server's words alone would not say which workspaces these are.
		cause := strings.ReplaceAll(err.Error(), "\n", "; ")
		if errors.Is(err, context.DeadlineExceeded) {
			cause += fmt.Sprintf("; stop them with kubectl scale deployments,statefulsets -l %s -n %s --replicas=0",
				workspaces.Selector, namespace)
		}
		t.note("stop the workspaces", cause)
	}
	return stopped
}

// removePolicy deletes the NetworkPolicy that bootstrap created, as Helm deletes those of the release. A new install on
// the same data creates it again: the database remembers.
func (t *Teardown) removePolicy(ctx context.Context) {
	namespace, name := t.Spec.Workspaces.Namespace, t.Spec.Workspaces.Policy
	if namespace == "" || name == "" {
		return
	}
	// The waits before this one may have used up the time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	policies := t.Client.Resource(kube.NetworkPolicies, namespace)
	live, err := policies.Get(ctx, name, metav1.GetOptions{})
	if err == nil && live.GetLabels()[kube.ManagedByLabel] == kube.FieldManager {
		err = policies.Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		t.warn("delete NetworkPolicy "+namespace+"/"+name, err)
	}
}

// removeJobs deletes the Jobs of the release, but for the one that this runs in. Helm leaves those of hooks that failed.
// And it goes by its newest record, which for an upgrade that was refused names another bootstrap Job than the one that
// ran: left behind, a new install would take it for its own, and for done.
func (t *Teardown) removeJobs(ctx context.Context) {
	selector := labelled("app.kubernetes.io/instance", t.Spec.Release, "app.kubernetes.io/part-of", "neutree") +
		",app.kubernetes.io/component notin (teardown)"
	jobs, err := t.Client.ListMetadata(ctx, kube.Jobs, t.Spec.Namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.warn("find the release's Jobs", err)
		return
	}
	background := metav1.DeletePropagationBackground
	for _, job := range jobs {
		err := t.Client.Resource(kube.Jobs, t.Spec.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			t.warn("delete Job "+job.Name, err)
		}
	}
}

// hibernate has PostgreSQL stopped while its operator is still there to do it in good order. It returns nil where there
// is nothing to wait for.
func (t *Teardown) hibernate(ctx context.Context) *database.Cluster {
	if t.Spec.Cluster == "" {
		return nil
	}
	cluster := database.New(t.Log, t.Client, t.Spec.Namespace, t.Spec.Cluster)
	exists, err := cluster.Hibernate(ctx)
	if err != nil {
		t.warn("stop the database", err)
		return nil
	}
	if !exists {
		t.Log.Info("there is no database to stop", "cluster", t.Spec.Cluster)
		return nil
	}
	return cluster
}

// waitStopped reports whether the database hibernates.
func (t *Teardown) waitStopped(ctx context.Context, cluster *database.Cluster) bool {
	if cluster == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, orElse(t.DatabaseWait, 90*time.Second))
	defer cancel()
	if err := cluster.WaitStopped(ctx); err != nil {
		t.warn("stop the database", err)
		return false
	}
	return true
}

// kept names what the uninstall leaves behind on purpose.
func (t *Teardown) kept(ctx context.Context) []string {
	var kept []string
	add := func(kind string, gvr schema.GroupVersionResource, namespace, selector string) {
		there := 0
		options := metav1.ListOptions{LabelSelector: selector}
		err := t.Client.EachMetadata(ctx, gvr, namespace, options, func(object *metav1.PartialObjectMetadata) {
			if there++; there <= maxKept {
				kept = append(kept, fmt.Sprintf("%s %s/%s", kind, namespace, object.Name))
			}
		})
		if err != nil {
			t.warn("list what is kept", err)
		}
		if there > maxKept {
			kept = append(kept, fmt.Sprintf("%d more %ss in namespace %s", there-maxKept, kind, namespace))
		}
	}
	if t.Spec.Cluster != "" {
		if _, err := t.Client.Resource(kube.Clusters, t.Spec.Namespace).Get(ctx, t.Spec.Cluster, metav1.GetOptions{}); err == nil {
			kept = append(kept, fmt.Sprintf("Cluster %s/%s", t.Spec.Namespace, t.Spec.Cluster))
		}
	}
	add("Secret", kube.Secrets, t.Spec.Namespace, labelled(kube.ManagedByLabel, kube.FieldManager))
	add("PersistentVolumeClaim", kube.Claims, t.Spec.Namespace, "")
	if other := t.Spec.Workspaces.Namespace; other != "" && other != t.Spec.Namespace {
		add("PersistentVolumeClaim", kube.Claims, other, "")
	}
	for _, k := range kept {
		t.Log.Info("kept", "object", k)
	}
	return kept
}

func (t *Teardown) scaleToZero(ctx context.Context, kind schema.GroupVersionResource, namespace, name string) error {
	return t.Client.Merge(ctx, kind, namespace, name, map[string]any{"spec": map[string]any{"replicas": 0}}, "scale")
}

func labelled(pairs ...string) string {
	var terms []string
	for i := 0; i+1 < len(pairs); i += 2 {
		terms = append(terms, pairs[i]+"="+pairs[i+1])
	}
	return strings.Join(terms, ",")
}

func orElse(d, fallback time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return fallback
}
