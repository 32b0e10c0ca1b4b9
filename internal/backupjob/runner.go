package backupjob

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

// Runner works on the backups of one release.
type Runner struct {
	Log       *slog.Logger
	Client    *kube.Client
	Namespace string
	Plan      Plan
	// Jobs runs the Jobs.
	Jobs jobrun.Jobs
	// AllowOtherKey admits the restore of a backup whose credentials are encrypted with another key.
	AllowOtherKey bool
}

// New returns a Runner for the release that plan describes.
func New(log *slog.Logger, client *kube.Client, namespace string, plan Plan) *Runner {
	return &Runner{Log: log, Client: client, Namespace: namespace, Plan: plan,
		Jobs: &jobrun.Runner{Log: log, Client: client, Namespace: namespace}}
}

// CreateByHand makes the backup called name, which a person has asked for, unless a restore has not ended.
func (r *Runner) CreateByHand(ctx context.Context, name, reason string) (string, error) {
	note, _, err := restorenote.Read(ctx, r.Client, r.Namespace, r.noteName())
	if err != nil {
		return "", err
	}
	if note != nil {
		return "", hook.Refuse(note.NoBackup(r.Namespace, r.noteName()))
	}
	return r.Create(ctx, name, reason)
}

// Create makes the backup called name. It keeps the backups called keep whatever the retention says.
func (r *Runner) Create(ctx context.Context, name, reason string, keep ...string) (string, error) {
	if err := r.EnsureClaim(ctx); err != nil {
		return "", err
	}
	if err := r.snapshot(ctx, name); err != nil {
		return "", err
	}
	args := createArgs(name, reason)
	for _, other := range keep {
		args = append(args, "--keep="+other)
	}
	return r.runOwn(ctx, r.Plan.Create, name, args...)
}

func createArgs(name, reason string) []string {
	return []string{"create", "--name=" + name, "--reason=" + reason}
}

// BeforeUpgrade makes the backup that an upgrade to the plan's revision falls back on, unless an earlier attempt made one
// that will do. Its Job has the plan's own name, so that a Role can name it.
func (r *Runner) BeforeUpgrade(ctx context.Context) (string, error) { return r.beforeUpgrade(ctx) }

// BeforeMajorUpgrade always makes a backup: what users did since an earlier one would be lost by the only way back.
func (r *Runner) BeforeMajorUpgrade(ctx context.Context) (string, error) {
	return r.beforeUpgrade(ctx, "--fresh")
}

func (r *Runner) beforeUpgrade(ctx context.Context, options ...string) (string, error) {
	if err := r.EnsureClaim(ctx); err != nil {
		return "", err
	}
	name, err := r.nameBeforeUpgrade(ctx)
	if err != nil {
		return "", err
	}
	reason := fmt.Sprintf("before the upgrade to revision %d", r.Plan.Revision)
	message, err := r.run(ctx, r.Plan.Create, r.Plan.Create.Name, append(createArgs(name, reason), options...)...)
	if err != nil {
		return "", err
	}
	saved := backup.ReadSaved(message)
	if saved.Earlier {
		return saved.Summary, nil
	}
	return saved.Summary, r.snapshot(ctx, name)
}

// nameBeforeUpgrade is the name of the backup that a Job of an earlier attempt of the same upgrade is making now, else a
// new one. The name is part of what identifies the Job, and with another one its work would start over.
func (r *Runner) nameBeforeUpgrade(ctx context.Context) (string, error) {
	prefix := fmt.Sprintf("before-r%d-", r.Plan.Revision)
	name := r.Plan.Create.Name
	live, err := kube.Get[batchv1.Job](ctx, r.Client, kube.Jobs, r.Namespace, name)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("look for Job %s in namespace %s: %w", name, r.Namespace, err)
	}
	if err == nil && live.DeletionTimestamp == nil && !jobrun.Ended(live) {
		for _, arg := range live.Spec.Template.Spec.Containers[0].Args {
			if backup, is := strings.CutPrefix(arg, "--name="); is && strings.HasPrefix(backup, prefix) {
				return backup, nil
			}
		}
	}
	return prefix + backup.NewName(time.Now()), nil
}

// List returns what backups there are.
func (r *Runner) List(ctx context.Context) (backup.Listing, error) {
	empty := backup.Listing{Backups: []backup.Entry{}}
	if exists, err := r.claimExists(ctx); err != nil || !exists {
		return empty, err
	}
	message, err := r.runOwn(ctx, withoutCopies(r.Plan.Create), "list", "list")
	if err != nil {
		return empty, err
	}
	var listing backup.Listing
	if err := json.Unmarshal([]byte(message), &listing); err != nil {
		return empty, fmt.Errorf("the Job that lists the backups left %q: %w", message, err)
	}
	return listing, nil
}

// Delete deletes one backup, unless a restore that has not ended depends on it.
func (r *Runner) Delete(ctx context.Context, name string) error {
	note, _, err := restorenote.Read(ctx, r.Client, r.Namespace, r.noteName())
	if err != nil {
		return err
	}
	if note != nil && (name == note.Backup || name == note.Safety || slices.Contains(note.Earlier, name)) {
		f := note.Finding(r.Namespace, r.noteName())
		f.Why = fmt.Sprintf("backup %s may be needed to end it", name)
		return hook.Refuse(f)
	}
	if err := r.needClaim(ctx, name); err != nil {
		return err
	}
	_, err = r.runOwn(ctx, withoutCopies(r.Plan.Create), "delete", "delete", "--name="+name)
	return err
}

// Check proves that a backup can be restored, and says what it holds.
func (r *Runner) Check(ctx context.Context, name string, newer bool) (string, error) {
	if err := r.needClaim(ctx, name); err != nil {
		return "", err
	}
	return r.runOwn(ctx, r.Plan.Restore, "check", r.restoreArgs("check", name, newer)...)
}

// restoreArgs are those of what reads a backup in order to restore it.
func (r *Runner) restoreArgs(action, name string, newer bool) []string {
	args := []string{action, "--name=" + name}
	if newer {
		args = append(args, "--allow-newer-schema")
	}
	if r.AllowOtherKey {
		args = append(args, "--allow-other-key")
	}
	return args
}

// keptJob is how long a Job of one client's own stays once it has ended, if the client did not see that.
const keptJob = 24 * time.Hour

// runOwn runs a Job that is this client's alone, so that several clients do not meet in one Job: those that read run
// side by side. Of those that write the second one finds the folder of the backups in use, and says so at once.
func (r *Runner) runOwn(ctx context.Context, manifest batchv1.Job, what string, args ...string) (string, error) {
	job := own(manifest)
	if policy := job.Spec.PodFailurePolicy; policy != nil {
		for _, rule := range policy.Rules {
			if on := rule.OnExitCodes; rule.Action == batchv1.PodFailurePolicyActionFailJob && on != nil {
				on.Values = append(on.Values, int32(hook.Busy))
				slices.Sort(on.Values)
				on.Values = slices.Compact(on.Values)
			}
		}
	}
	// With the longest prefix and the longest name of a backup this is as long as a Job's name may be.
	return r.run(ctx, job, fmt.Sprintf("%s-%s-%s", manifest.Name, what, rand.String(4)), args...)
}

// withoutCopies is the Job that makes backups without what it needs to copy them: what only uses the PVC of backups gets
// no Secrets, and works where the PVC of copies can't be mounted. The names are those of the chart's volumes.
func withoutCopies(manifest batchv1.Job) batchv1.Job {
	job := manifest.DeepCopy()
	ofCopies := []string{"escrow", "s3", "s3-ca", "copies"}
	pod := &job.Spec.Template.Spec
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool { return slices.Contains(ofCopies, v.Name) })
	for i := range pod.Containers {
		pod.Containers[i].VolumeMounts = slices.DeleteFunc(pod.Containers[i].VolumeMounts,
			func(m corev1.VolumeMount) bool { return slices.Contains(ofCopies, m.Name) })
	}
	return *job
}

// own is a Job of one client's alone.
func own(manifest batchv1.Job) batchv1.Job {
	job := manifest.DeepCopy()
	if job.Spec.TTLSecondsAfterFinished == nil {
		job.Spec.TTLSecondsAfterFinished = ptr.To(int32(keptJob.Seconds()))
	}
	return *job
}

func (r *Runner) run(ctx context.Context, manifest batchv1.Job, name string, args ...string) (string, error) {
	job := manifest.DeepCopy()
	job.Name = name
	main := &job.Spec.Template.Spec.Containers[0]
	main.Args = append(main.Args, args...)
	image, err := r.clusterImage(ctx)
	if err != nil {
		return "", err
	}
	if image != "" {
		main.Image = image
	}
	return r.Jobs.Run(ctx, job)
}

// clusterImage is the image that the database runs now: its programs are of the server's version, whatever the values
// ask for next. It is empty where the manifests name an image.
func (r *Runner) clusterImage(ctx context.Context) (string, error) {
	if r.Plan.Cluster == "" {
		return "", nil
	}
	image, err := r.imageOf(ctx, r.Plan.Cluster)
	if err != nil {
		return "", fmt.Errorf("find the database's image: %s", kube.Brief(err))
	}
	return image, nil
}

// imageOf is the image that a Cluster runs. The error is the API server's.
func (r *Runner) imageOf(ctx context.Context, name string) (string, error) {
	cluster, err := r.Client.Resource(kube.Clusters, r.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, field := range [][]string{{"status", "image"}, {"spec", "imageName"}} {
		if image, _, _ := unstructured.NestedString(cluster.Object, field...); image != "" {
			return image, nil
		}
	}
	return "", nil
}

func (r *Runner) claimExists(ctx context.Context) (bool, error) {
	_, err := kube.Get[corev1.PersistentVolumeClaim](ctx, r.Client, kube.Claims, r.Namespace, r.Plan.Claim.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for claim %s in namespace %s: %s", r.Plan.Claim.Name, r.Namespace, kube.Brief(err))
	}
	return true, nil
}

func (r *Runner) needClaim(ctx context.Context, name string) error {
	if err := backup.ValidateName(name); err != nil {
		return err
	}
	exists, err := r.claimExists(ctx)
	if err == nil && !exists {
		return hook.Refusef(finding.BackupMissing, "",
			"there is no backup %s: namespace %s has no claim %s, so no backup was made yet",
			name, r.Namespace, r.Plan.Claim.Name)
	}
	return err
}

// Protect marks the claim of backups, if it is there, so that no tool prunes it. Those of earlier versions have no marks.
func Protect(ctx context.Context, client *kube.Client, namespace, name string) error {
	if name == "" {
		return nil
	}
	claim, err := client.GetMetadata(ctx, kube.Claims, namespace, name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		if missing := kube.NotPruned(claim.Annotations); len(missing) > 0 {
			err = client.Merge(ctx, kube.Claims, namespace, name, kube.Annotate(missing))
		}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("mark claim %s in namespace %s not to be pruned: %s", name, namespace, kube.Brief(err))
	}
	return nil
}

// EnsureClaim makes the claim, or lets it grow to what the values ask for now.
func (r *Runner) EnsureClaim(ctx context.Context) error {
	claim := r.Plan.Claim
	live, err := kube.Get[corev1.PersistentVolumeClaim](ctx, r.Client, kube.Claims, r.Namespace, claim.Name)
	if apierrors.IsNotFound(err) {
		r.Log.Info("making the claim for backups", "claim", claim.Name)
		if _, err := r.Client.Apply(ctx, kube.Claims, r.Namespace, &claim, false); err != nil {
			return fmt.Errorf("make claim %s in namespace %s: %s", claim.Name, r.Namespace, kube.Brief(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for claim %s in namespace %s: %s", claim.Name, r.Namespace, kube.Brief(err))
	}
	want, has := claim.Spec.Resources.Requests.Storage(), live.Spec.Resources.Requests.Storage()
	if want.Cmp(*has) <= 0 {
		return nil
	}
	r.Log.Info("the claim for backups grows", "claim", claim.Name, "from", has.String(), "to", want.String())
	err = r.Client.Merge(ctx, kube.Claims, r.Namespace, claim.Name, map[string]any{
		"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": want.String()}}},
	})
	if err != nil {
		return hook.Refusef(finding.StorageClaims,
			"set global.backup.size back, or make room with helm neutree backup delete",
			"claim %s can't grow from %s to %s (%s)", claim.Name, has.String(), want.String(), kube.Brief(err))
	}
	return nil
}

// snapshot has the operator take a snapshot of the database's volumes, where that is configured.
func (r *Runner) snapshot(ctx context.Context, name string) error {
	if r.Plan.Snapshot == nil {
		return nil
	}
	object := (&unstructured.Unstructured{Object: r.Plan.Snapshot}).DeepCopy()
	object.SetName(object.GetName() + name)
	if err := r.Client.Create(ctx, kube.Backups, r.Namespace, object, false); err != nil && !apierrors.IsAlreadyExists(err) {
		return hook.Refusef(finding.BackupSnapshot, "",
			"the operator could not be asked for a snapshot: %s", kube.Brief(err))
	}
	return hook.Poll(ctx, r.Log, "snapshot "+object.GetName(), func(ctx context.Context) (bool, string, error) {
		live, err := r.Client.Resource(kube.Backups, r.Namespace).Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil {
			return false, kube.Brief(err), nil
		}
		phase, _, _ := unstructured.NestedString(live.Object, "status", "phase")
		if phase == "failed" {
			cause, _, _ := unstructured.NestedString(live.Object, "status", "error")
			return false, "", hook.Refusef(finding.BackupSnapshot,
				"fix the cause or clear global.backup.volumeSnapshotClass",
				"snapshot %s failed: %s", object.GetName(), cause)
		}
		return phase == "completed", "its phase is " + phase, nil
	})
}
