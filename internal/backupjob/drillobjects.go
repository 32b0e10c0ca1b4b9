package backupjob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/restorenote"
	"github.com/neutree-ai/packaging/internal/secret"
)

const (
	componentLabel = "app.kubernetes.io/component"
	// drillComponent marks what a drill creates. No hook looks for it, so none takes it for a part of the release.
	drillComponent = "drill"
	// drillKept is how long the Job of a drill, and all that it owns, stays after its end where no client removes it.
	drillKept = 10 * time.Minute
	// drillCA is where the Job finds the certificate of the throw-away server.
	drillCA = "/etc/neutree/drill-ca/ca.crt"
)

// drillObject is one that a drill creates in the release's namespace.
type drillObject struct {
	resource schema.GroupVersionResource
	name     string
}

// objects are all that a drill creates, the Job first, which owns the others.
func (d *Drill) objects() []drillObject {
	name := d.clusterName()
	objects := []drillObject{
		{kube.Jobs, d.Plan.Drill.Job.Name}, {kube.Clusters, name},
		{kube.Secrets, name + "-user"}, {kube.Secrets, name + "-ca"}, {kube.Secrets, name + "-url"},
	}
	if len(d.Plan.Drill.Policy) > 0 {
		policy := (&unstructured.Unstructured{Object: d.Plan.Drill.Policy}).GetName()
		objects = append(objects, drillObject{kube.NetworkPolicies, policy})
	}
	return objects
}

// create makes the Job, which waits until the Secrets that its pod needs are there, lets it run, and creates the Cluster.
// The pod waits for PostgreSQL.
func (d *Drill) create(ctx context.Context, entry backup.Entry) (*batchv1.Job, error) {
	plan := d.Plan.Drill
	job := plan.Job.DeepCopy()
	main := &job.Spec.Template.Spec.Containers[0]
	main.Args = append(main.Args, "drill", "--name="+entry.Name)
	cluster := (&unstructured.Unstructured{Object: plan.Cluster}).DeepCopy()
	if err := d.setImages(ctx, cluster, main); err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(cluster.Object, sizeFor(entry), "spec", "storage", "size"); err != nil {
		return nil, hook.Errorf(hook.Usage, "the plan's Cluster for drills: %w", err)
	}
	job.Spec.Suspend = ptr.To(true)
	job.Spec.TTLSecondsAfterFinished = ptr.To(int32(drillKept.Seconds()))
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, holderAnnotation, restorenote.ThisClient())
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, beatAnnotation, "0")
	object, err := kube.ToUnstructured(job)
	if err != nil {
		return nil, err
	}
	made, err := d.Client.Resource(kube.Jobs, d.Namespace).Create(ctx, object,
		metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil, hook.Failf(hook.Busy, finding.BackupBusy, "wait until it ends",
			"another client has just started a drill in namespace %s", d.Namespace)
	}
	if err != nil {
		return nil, kube.Refused(err, "create Job %s in namespace %s", job.Name, d.Namespace)
	}
	owner := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: made.GetUID()}
	secrets, err := d.secrets(cluster)
	if err != nil {
		return nil, err
	}
	for _, s := range secrets {
		s.OwnerReferences = []metav1.OwnerReference{owner}
		if err := d.Client.Create(ctx, kube.Secrets, d.Namespace, s, false); err != nil {
			return nil, kube.Refused(err, "create Secret %s in namespace %s", s.Name, d.Namespace)
		}
	}
	if len(plan.Policy) > 0 {
		policy := (&unstructured.Unstructured{Object: plan.Policy}).DeepCopy()
		policy.SetOwnerReferences([]metav1.OwnerReference{owner})
		if err := d.Client.Create(ctx, kube.NetworkPolicies, d.Namespace, policy, false); err != nil {
			return nil, kube.Refused(err, "create NetworkPolicy %s in namespace %s", policy.GetName(), d.Namespace)
		}
	}
	// The time of a Job that is suspended does not pass: a client that is killed now leaves no Cluster for ever.
	run := map[string]any{"spec": map[string]any{"suspend": false}}
	if err := d.Client.Merge(ctx, kube.Jobs, d.Namespace, job.Name, run); err != nil {
		return nil, kube.Refused(err, "start Job %s in namespace %s", job.Name, d.Namespace)
	}
	cluster.SetOwnerReferences([]metav1.OwnerReference{owner})
	if err := d.Client.Create(ctx, kube.Clusters, d.Namespace, cluster, false); err != nil {
		return nil, kube.Refused(err, "create Cluster %s in namespace %s", cluster.GetName(), d.Namespace)
	}
	return job, nil
}

// setImages has the throw-away server run what the live one runs, and the Job its programs. Where there is no live one,
// as after a loss, that is what the values name.
func (d *Drill) setImages(ctx context.Context, cluster *unstructured.Unstructured, main *corev1.Container) error {
	image, err := d.imageOf(ctx, d.Plan.Drill.Live)
	if apierrors.IsNotFound(err) || err == nil && image == "" {
		return nil
	}
	if err != nil {
		return kube.Refused(err, "find the image of Cluster %s in namespace %s", d.Plan.Drill.Live, d.Namespace)
	}
	if d.Plan.Cluster != "" {
		main.Image = image
	}
	return unstructured.SetNestedField(cluster.Object, image, "spec", "imageName")
}

// secrets are a password of the drill's own, the CA of the throw-away server, and its address with the password.
func (d *Drill) secrets(cluster *unstructured.Unstructured) ([]*corev1.Secret, error) {
	name := cluster.GetName()
	user, _, _ := unstructured.NestedString(cluster.Object, "spec", "bootstrap", "initdb", "owner")
	database, _, _ := unstructured.NestedString(cluster.Object, "spec", "bootstrap", "initdb", "database")
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("create a password: %w", err)
	}
	password := hex.EncodeToString(random)
	ca, err := secret.Authority(name, d.Namespace, time.Now())
	if err != nil {
		return nil, err
	}
	address := url.URL{Scheme: "postgresql", User: url.UserPassword(user, password), Host: name + "-rw:5432",
		Path: "/" + database, RawQuery: "sslmode=verify-full&sslrootcert=" + drillCA}
	named := func(suffix string, kind corev1.SecretType) *corev1.Secret {
		return &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Type: kind,
			ObjectMeta: metav1.ObjectMeta{Name: name + suffix, Labels: d.labels(), Annotations: kube.NotPruned(nil)},
		}
	}
	login := named("-user", corev1.SecretTypeBasicAuth)
	login.StringData = map[string]string{"username": user, "password": password}
	authority := named("-ca", corev1.SecretTypeOpaque)
	authority.Data = ca
	where := named("-url", corev1.SecretTypeOpaque)
	where.StringData = map[string]string{"url": address.String()}
	return []*corev1.Secret{login, authority, where}, nil
}

// labels are those of what the client creates.
func (d *Drill) labels() map[string]string {
	return map[string]string{
		kube.ManagedByLabel: kube.FieldManager, "app.kubernetes.io/part-of": "neutree",
		"app.kubernetes.io/instance": d.Plan.Release, componentLabel: drillComponent,
	}
}

// remove deletes what a drill creates, as far as it is there, and returns when nothing of it is left: neither what the
// Job owns nor what the operator made for the Cluster.
func (d *Drill) remove(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	for _, o := range d.objects() {
		err := d.Client.Resource(o.resource, d.Namespace).Delete(ctx, o.name,
			metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return kube.Refused(err, "delete %s %s in namespace %s", o.resource.Resource, o.name, d.Namespace)
		}
	}
	return hook.Poll(ctx, d.Log, "the throw-away PostgreSQL to be gone", func(ctx context.Context) (bool, string, error) {
		left, err := d.left(ctx)
		if err != nil {
			return false, kube.Brief(err), nil
		}
		return len(left) == 0, strings.Join(left, ", "), nil
	})
}

// left names what there still is of a drill.
func (d *Drill) left(ctx context.Context) ([]string, error) {
	var left []string
	for _, o := range d.objects() {
		switch _, err := d.Client.GetMetadata(ctx, o.resource, d.Namespace, o.name); {
		case err == nil:
			left = append(left, o.resource.Resource+" "+o.name)
		case !apierrors.IsNotFound(err):
			return nil, err
		}
	}
	ofCluster, ofJob := "cnpg.io/cluster="+d.clusterName(), batchv1.JobNameLabel+"="+d.Plan.Drill.Job.Name
	for _, made := range []struct {
		resource schema.GroupVersionResource
		selector string
	}{{kube.Pods, ofJob}, {kube.Pods, ofCluster}, {kube.Claims, ofCluster}} {
		list, err := d.Client.ListMetadata(ctx, made.resource, d.Namespace, metav1.ListOptions{LabelSelector: made.selector})
		if err != nil {
			return nil, err
		}
		for _, object := range list {
			left = append(left, made.resource.Resource+" "+object.Name)
		}
	}
	return left, nil
}
