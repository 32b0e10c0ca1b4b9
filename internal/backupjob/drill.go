package backupjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// Drill restores a backup into a throw-away Cluster, in which nothing of the release takes part, and removes it again.
// The Job owns everything that a drill creates and is deleted by Kubernetes some time after its end, so nothing stays
// where the client that should remove it was killed.
type Drill struct {
	*Runner
	// Name is the backup, "" for the newest.
	Name string
	// Patience is how long another client that has started a drill may give no sign of life before it counts as dead; 0
	// means 15 seconds.
	Patience time.Duration
	// StartWait bounds the wait for the throw-away Cluster; 0 means ten minutes.
	StartWait time.Duration
}

// Annotations of the Job of a drill.
const (
	// beatAnnotation changes while the client of a drill lives.
	beatAnnotation   = "neutree.ai/beat"
	holderAnnotation = "neutree.ai/client"
)

// Run restores the backup and returns what was found out about it. An error says that this could not be found out.
// Either is noted in the release's namespace; see LastDrill.
func (d *Drill) Run(ctx context.Context) (backup.DrillResult, error) {
	if d.Plan.Drill == nil {
		return backup.DrillResult{}, hook.Refusef(finding.BackupDrill,
			"restore the backup into a database of your own, by an installation in another namespace",
			"a drill needs the CloudNativePG operator, and release %s uses an external PostgreSQL, or its chart is older than "+
				"this plugin", d.Plan.Release)
	}
	if err := d.refuseBusy(ctx); err != nil {
		return backup.DrillResult{}, err
	}
	entry, err := d.choose(ctx)
	if err != nil {
		return backup.DrillResult{}, err
	}
	if err := d.clear(ctx); err != nil {
		return backup.DrillResult{}, err
	}
	began := time.Now()
	result, err := d.try(ctx, entry)
	if hook.CodeOf(err) == hook.Busy {
		// The record is that of the other client, whose drill is running.
		return result, err
	}
	result.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return result, err
	}
	noted := afterwards(ctx, func(ctx context.Context) error { return d.note(ctx, began, entry.Name, result, err) })
	if noted != nil {
		d.Log.Warn("the result is not noted for backup list", "cause", kube.Brief(noted))
	}
	return result, err
}

// refuseBusy refuses while a restore has not ended or an upgrade is running.
func (d *Drill) refuseBusy(ctx context.Context) error {
	note, _, err := restorenote.Read(ctx, d.Client, d.Namespace, d.noteName())
	if err != nil {
		return err
	}
	if note != nil {
		f := note.Finding(d.Namespace, d.noteName())
		f.Why = "a drill waits until the databases are settled"
		return hook.Refuse(f)
	}
	return d.refuseUpgrade(ctx)
}

// choose finds the backup in the list.
func (d *Drill) choose(ctx context.Context) (backup.Entry, error) {
	if d.Name != "" {
		if err := backup.ValidateName(d.Name); err != nil {
			return backup.Entry{}, err
		}
	}
	listing, err := d.List(ctx)
	if err != nil {
		return backup.Entry{}, err
	}
	for _, warning := range listing.Warnings() {
		d.Log.Warn(warning)
	}
	if len(listing.Backups) == 0 {
		return backup.Entry{}, hook.Refusef(finding.BackupMissing, "make one with helm neutree backup create",
			"release %s in namespace %s has no backup", d.Plan.Release, d.Namespace)
	}
	if d.Name == "" {
		return listing.Backups[0], nil
	}
	i := slices.IndexFunc(listing.Backups, func(b backup.Entry) bool { return b.Name == d.Name })
	if i < 0 {
		return backup.Entry{}, hook.Refusef(finding.BackupMissing, "helm neutree backup list shows those that exist",
			"there is no backup %s that can be read in PVC %s", d.Name, d.Plan.Claim.Name)
	}
	return listing.Backups[i], nil
}

// try does the drill and removes what it created, whatever becomes of it.
func (d *Drill) try(ctx context.Context, entry backup.Entry) (result backup.DrillResult, err error) {
	d.Log.Info("starting a throw-away PostgreSQL", "cluster", d.clusterName(), "backup", entry.Name)
	taken := false
	defer func() {
		if taken {
			return
		}
		d.Log.Info("removing the throw-away PostgreSQL", "cluster", d.clusterName())
		if rerr := afterwards(ctx, d.remove); rerr != nil {
			d.Log.Warn("what the drill created is not gone yet: Kubernetes removes it with its Job, which the next drill or "+
				"kubectl delete job "+d.Plan.Drill.Job.Name+" --namespace "+d.Namespace+" deletes", "cause", kube.Brief(rerr))
		}
	}()
	job, err := d.create(ctx, entry)
	if err != nil {
		// Everything of that name is another client's.
		taken = hook.CodeOf(err) == hook.Busy
		return result, err
	}
	defer d.beat(ctx)()
	if err := d.awaitCluster(ctx); err != nil {
		return result, err
	}
	runner := &jobrun.Runner{Log: d.Log, Client: d.Client, Namespace: d.Namespace}
	message, err := runner.Await(ctx, job)
	if err != nil {
		return result, err
	}
	return backup.ReadDrillResult(message)
}

// awaitCluster returns when PostgreSQL runs, or the Job has ended before.
func (d *Drill) awaitCluster(ctx context.Context) error {
	wait := d.StartWait
	if wait == 0 {
		wait = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	cluster := database.New(d.Log, d.Client, d.Namespace, d.clusterName())
	// An operator that is running takes a moment to look at a new Cluster.
	soon := time.Now().Add(wait / 100)
	err := hook.Poll(ctx, d.Log, "the throw-away PostgreSQL", func(ctx context.Context) (bool, string, error) {
		live, err := d.Client.Resource(kube.Clusters, d.Namespace).Get(ctx, d.clusterName(), metav1.GetOptions{})
		if err != nil {
			return false, kube.Brief(err), nil
		}
		if ready, _, _ := unstructured.NestedInt64(live.Object, "status", "readyInstances"); ready > 0 {
			return true, "", nil
		}
		job, err := kube.Get[batchv1.Job](ctx, d.Client, kube.Jobs, d.Namespace, d.Plan.Drill.Job.Name)
		if err == nil && jobrun.Ended(job) {
			return true, "", nil
		}
		if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase == "" && time.Now().Before(soon) {
			return false, "it was just created", nil
		}
		return false, cluster.Trouble(ctx), nil
	})
	if hook.CodeOf(err) == hook.Deadline {
		return hook.Failf(hook.Deadline, finding.BackupDrill, "fix the cause and run the drill again", "%v", err)
	}
	return err
}

// patience is how long a client may not be heard of before its drill is removed.
func (d *Drill) patience() time.Duration {
	if d.Patience > 0 {
		return d.Patience
	}
	return 15 * time.Second
}

// beat shows on the Job that this client lives, until the function it returns is called.
func (d *Drill) beat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(d.patience() / 5)
		defer ticker.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// An error passes, or the wait for the Job meets it.
			_ = d.Client.Merge(ctx, kube.Jobs, d.Namespace, d.Plan.Drill.Job.Name,
				kube.Annotate(map[string]string{beatAnnotation: strconv.Itoa(n)}))
		}
	}()
	return func() { cancel(); <-done }
}

// clear removes what a drill has left whose client is gone, and refuses while that works.
func (d *Drill) clear(ctx context.Context) error {
	name := d.Plan.Drill.Job.Name
	live, err := kube.Get[batchv1.Job](ctx, d.Client, kube.Jobs, d.Namespace, name)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return kube.Refused(err, "look for Job %s in namespace %s", name, d.Namespace)
	case live.DeletionTimestamp == nil:
		if err := d.waitForSilence(ctx, live); err != nil {
			return err
		}
	}
	if err := d.refuseOther(ctx); err != nil {
		return err
	}
	if left, err := d.left(ctx); err == nil && len(left) == 0 {
		// Whatever there is from now on is another client's, which starts a drill at the same time.
		return nil
	}
	return d.remove(ctx)
}

// waitForSilence refuses while the client of a drill gives signs of life.
func (d *Drill) waitForSilence(ctx context.Context, job *batchv1.Job) error {
	holder, last := job.Annotations[holderAnnotation], job.Annotations[beatAnnotation]
	d.Log.Info("another client has started a drill; finding out whether it still works on it", "client", holder)
	silent := time.Now().Add(d.patience())
	return hook.Poll(ctx, d.Log, "a sign of life of "+holder, func(ctx context.Context) (bool, string, error) {
		live, err := kube.Get[batchv1.Job](ctx, d.Client, kube.Jobs, d.Namespace, job.Name)
		switch {
		case apierrors.IsNotFound(err):
			return true, "", nil
		case err != nil:
			return false, kube.Brief(err), nil
		case live.Annotations[beatAnnotation] != last:
			return false, "", hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
				"%s is running a drill in namespace %s (Job %s)", holder, d.Namespace, job.Name)
		}
		return time.Now().After(silent), "none yet", nil
	})
}

// refuseOther refuses a Cluster that has the name and is no drill's: it must not be deleted.
func (d *Drill) refuseOther(ctx context.Context) error {
	live, err := d.Client.GetMetadata(ctx, kube.Clusters, d.Namespace, d.clusterName())
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return kube.Refused(err, "look for Cluster %s in namespace %s", d.clusterName(), d.Namespace)
	}
	if live.Labels[componentLabel] != drillComponent {
		return hook.Refusef(finding.BackupDrill, "rename or remove it, or change global.namePrefix",
			"Cluster %s in namespace %s is no drill's, and a drill would use its name", d.clusterName(), d.Namespace)
	}
	return nil
}

func (d *Drill) clusterName() string {
	return (&unstructured.Unstructured{Object: d.Plan.Drill.Cluster}).GetName()
}

// sizeFor is how large the volume is made: the database, with room for its log and for what a restore sorts.
func sizeFor(entry backup.Entry) string {
	const gibibyte = 1 << 30
	return fmt.Sprintf("%dGi", entry.DatabaseBytes*13/10/gibibyte+2)
}
