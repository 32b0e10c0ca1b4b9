// Package recover explains and fixes a release that a Helm client left half-way: killed, or cut off from the cluster,
// it leaves a revision that is pending, and every later command refuses to begin.
package recover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/stop"
)

// Errors of this package.
var (
	// ErrBusy says that the release is being worked on, so that nothing may be changed.
	ErrBusy = errors.New("the release is being worked on")
	// ErrNoRelease says that Helm knows no such release: ArgoCD, for one, renders the chart and applies it by itself.
	ErrNoRelease = errors.New("there is no release")
)

// hookAnnotation is what Helm knows a hook by.
const hookAnnotation = "helm.sh/hook"

// Operation is what Helm did last with a release.
type Operation struct {
	Release, Namespace string
	Revision           int
	// Status is Helm's word for it.
	Status string
	// Since is when the revision was last written, By the program that wrote it: Kubernetes does not keep the person.
	Since time.Time
	By    string
	// Running are the Jobs that a Helm client still waits for, or would.
	Running []string
	// jobs are those of them that may be stopped, own are backups and restores that a person started.
	jobs []stop.Job
	own  []string
	// Deployed is the newest revision that ran in whole, 0 for none.
	Deployed int

	kind   schema.GroupVersionResource
	object *unstructured.Unstructured
}

// Pending tells whether the release was left half-way.
func (f *Operation) Pending() bool { return strings.HasPrefix(f.Status, "pending-") }

// Find looks a release up, in whichever of its two places Helm keeps it.
func Find(ctx context.Context, client *kube.Client, namespace, release string) (*Operation, error) {
	var newest *Operation
	name, deployed := "", 0
	for _, kind := range helmrecord.Kinds() {
		// A record may have a MiB, and --history-max=0 keeps all of them.
		err := client.EachMetadata(ctx, kind, namespace, helmrecord.Of(release), func(record *metav1.PartialObjectMetadata) {
			found := operation(record, kind, namespace, release)
			if found.Status == "deployed" || found.Status == "superseded" {
				deployed = max(deployed, found.Revision)
			}
			if newest == nil || found.Revision > newest.Revision {
				newest, name = found, record.Name
			}
		})
		if err != nil {
			return nil, fmt.Errorf("look for the records of release %s in namespace %s: %w", release, namespace, err)
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w %s in namespace %s: helm list --all --all-namespaces shows those there are",
			ErrNoRelease, release, namespace)
	}
	var err error
	if newest.object, err = client.Resource(newest.kind, namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("read the record of revision %d of release %s in namespace %s: %w",
			newest.Revision, release, namespace, err)
	}
	newest.Deployed = deployed
	return newest, newest.findJobs(ctx, client)
}

// FindJobs finds the Jobs that a release runs, also one that Helm does not know.
func FindJobs(ctx context.Context, client *kube.Client, namespace, release string) (*Operation, error) {
	found := &Operation{Release: release, Namespace: namespace}
	return found, found.findJobs(ctx, client)
}

func (f *Operation) findJobs(ctx context.Context, client *kube.Client) error {
	jobs, err := kube.List[batchv1.Job](ctx, client, kube.Jobs, f.Namespace, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/part-of=neutree,app.kubernetes.io/instance=" + f.Release,
	})
	if err != nil {
		return fmt.Errorf("list the Jobs in namespace %s: %w", f.Namespace, err)
	}
	components := platform.HookComponents()
	for _, job := range jobs {
		if !jobrun.Ended(&job) && awaited(&job, components) {
			f.Running = append(f.Running, job.Name)
			if startedByPerson(&job) {
				f.own = append(f.own, job.Name)
				continue
			}
			f.jobs = append(f.jobs, stop.Job{Name: job.Name, Awaited: job.Annotations[hookAnnotation] != ""})
		}
	}
	return nil
}

// Hooks are the Jobs of Running that are no backup or restore which a person started.
func (f *Operation) Hooks() []string {
	return slices.DeleteFunc(slices.Clone(f.Running), func(name string) bool { return slices.Contains(f.own, name) })
}

// awaited reports whether a Helm client waits for a Job. A newer chart may have hooks that this program does not know:
// they have Helm's own annotation. Tests run on a release that is not pending.
func awaited(job *batchv1.Job, components []string) bool {
	if slices.Contains(components, job.Labels["app.kubernetes.io/component"]) {
		return true
	}
	for event := range strings.SplitSeq(job.Annotations[hookAnnotation], ",") {
		if event = strings.TrimSpace(event); event != "" && event != "test" && event != "test-success" {
			return true
		}
	}
	return false
}

// startedByPerson reports whether a Job is a backup or a restore of helm neutree backup. The backup of an upgrade has the
// same component, but no more in its name.
func startedByPerson(job *batchv1.Job) bool {
	return job.Labels["app.kubernetes.io/component"] == "backup" &&
		(!strings.HasSuffix(job.Name, "-backup") || strings.Contains(job.Name, "-backup-"))
}

func operation(u metav1.Object, kind schema.GroupVersionResource, namespace, release string) *Operation {
	labels := u.GetLabels()
	f := &Operation{Release: release, Namespace: namespace, Status: labels["status"],
		Since: u.GetCreationTimestamp().Time, kind: kind}
	f.Revision, _ = strconv.Atoi(labels["version"])
	for _, managed := range u.GetManagedFields() {
		f.By = managed.Manager
		if managed.Time != nil && managed.Time.After(f.Since) {
			f.Since = managed.Time.Time
		}
	}
	return f
}

// Explain says how the release stands and what will be done.
func (f *Operation) Explain(w io.Writer, now time.Time) error {
	by := f.By
	if by == "" {
		by = "an unknown program"
	}
	_, err := fmt.Fprintf(w, "Release %s in namespace %s is %s: revision %d was begun by %s and last written %s ago (%s), and nobody has ended it.\n",
		f.Release, f.Namespace, f.Status, f.Revision, by, now.Sub(f.Since).Round(time.Second), f.Since.UTC().Format(time.RFC3339))
	if err != nil {
		return err
	}
	if len(f.Running) > 0 {
		_, err = fmt.Fprintf(w, "Still running: Job %s.\n", strings.Join(f.Running, ", "))
		return err
	}
	_, err = fmt.Fprintf(w, "No hook of it runs any more. The revision will be marked failed; nothing else is changed.\n")
	return err
}

// Next says how to continue after MarkFailed.
func (f *Operation) Next() string {
	next := fmt.Sprintf("Now run the helm upgrade again (with --install): it goes on where the one before stopped. Nothing is applied twice.\n  helm upgrade --install %s CHART --namespace %s …", f.Release, f.Namespace)
	if f.Deployed > 0 {
		next += fmt.Sprintf("\nOr go back to the last revision that ran:\n  helm rollback %s %d --namespace %s --wait", f.Release, f.Deployed, f.Namespace)
	}
	return next
}

// Stop ends the hooks that still run, and returns once no pod of them is left. It refuses while a backup or a restore
// runs that a person started.
func (f *Operation) Stop(ctx context.Context, log *slog.Logger, client *kube.Client) error {
	if len(f.own) > 0 {
		return fmt.Errorf("%w: Job %s is a backup or a restore that a person started: wait until it has ended, and try again",
			ErrBusy, strings.Join(f.own, ", "))
	}
	stopper := &stop.Stopper{Log: log, Client: client, Namespace: f.Namespace}
	if _, err := stopper.Stop(ctx, f.jobs...); err != nil {
		return fmt.Errorf("stop what release %s still runs: %w", f.Release, err)
	}
	f.Running, f.jobs = nil, nil
	return nil
}

// MarkFailed marks the revision failed, so that Helm can begin again. It refuses while a hook runs, and when another
// program has written the record since.
func (f *Operation) MarkFailed(ctx context.Context, client *kube.Client) error {
	if len(f.Running) > 0 {
		return fmt.Errorf("%w: Job %s is still running: wait until it has ended, or stop it with helm neutree recover %s "+
			"--namespace %s --stop", ErrBusy, strings.Join(f.Running, ", "), f.Release, f.Namespace)
	}
	r := record{}
	if err := helmrecord.Decode(f.object, f.kind, &r); err != nil {
		return fmt.Errorf("read the record of revision %d: %w", f.Revision, err)
	}
	if got := r.info("status"); got != f.Status {
		return fmt.Errorf("the record of revision %d is labelled %s and says %s: fix it by hand, or delete %s %s",
			f.Revision, f.Status, got, f.object.GetKind(), f.object.GetName())
	}
	r.setInfo("status", "failed")
	r.setInfo("description", fmt.Sprintf("Its Helm client ended while it was %s; marked failed by helm neutree recover", f.Status))
	packed, err := helmrecord.Encode(r, f.kind)
	if err != nil {
		return err
	}
	// The record's resourceVersion goes along: who wrote it meanwhile has the last word.
	err = client.Merge(ctx, f.kind, f.Namespace, f.object.GetName(), map[string]any{
		"metadata": map[string]any{"resourceVersion": f.object.GetResourceVersion(), "labels": map[string]any{"status": "failed"}},
		"data":     map[string]any{"release": packed},
	})
	if err != nil {
		return fmt.Errorf("mark revision %d failed: %s", f.Revision, kube.Brief(err))
	}
	return nil
}
