package prepare

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/database"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/jobrun"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/revision"
)

// changed are the images that do not run yet, and the nodes where their predecessors do.
type changed struct {
	images []string
	nodes  map[string]bool
}

// pull brings the images that change to the nodes that serve, so that no service is down while one is fetched, and
// none is replaced by an image that nobody can fetch. Only the latter is a reason to stop.
func (p *Prepare) pull(ctx context.Context) (string, error) {
	spec := p.Spec.Pull
	if spec.Job == "" {
		return "", nil
	}
	c, err := p.changedImages(ctx)
	if err != nil || len(c.images) == 0 {
		return "", err
	}
	job, err := jobrun.ReadManifest(spec.Job)
	if err != nil {
		return "", err
	}
	nodes := slices.Sorted(maps.Keys(c.nodes))
	onNodes(job, c.images, nodes)
	p.Log.Info("pulling what changes", "images", strings.Join(c.images, ", "), "nodes", strings.Join(nodes, ", "))
	bounded, cancel := context.WithTimeout(ctx, time.Duration(spec.Seconds)*time.Second)
	defer cancel()
	_, err = p.Jobs.Run(bounded, job)
	var notStarted *jobrun.NotStarted
	switch {
	case err == nil:
		return fmt.Sprintf("%d new images are on %d nodes", len(c.images), max(1, len(nodes))), nil
	case errors.As(err, &notStarted) && notStarted.Trouble.Kind == poddiag.Image:
		return "", hook.Refuse(finding.Finding{
			ID: finding.ImagesPull, Severity: finding.Error, Object: "image " + notStarted.Trouble.Image, Value: "global.images",
			Found: fmt.Sprintf("the image %s can't be pulled (%s)", notStarted.Trouble.Image, poddiag.OneLine(notStarted.Trouble.Message)),
			Why:   "nothing was changed, and the previous version is still running",
			Fix:   "fix the image name or tag below global.images, the registry, or global.imagePullSecrets",
		})
	case ctx.Err() != nil || kube.MissingPermission(err) != "" || revision.Ended(err):
		return "", err
	}
	p.Log.Warn("the new images could not be pulled beforehand: services that are replaced will wait for theirs", "cause", err.Error())
	return "", nil
}

// changedImages compares what runs with what will. Where nothing runs there is nobody to wait.
func (p *Prepare) changedImages(ctx context.Context) (changed, error) {
	c := changed{nodes: map[string]bool{}}
	var others []string
	upgrade := false
	for _, w := range p.Spec.Pull.Workloads {
		live, err := kube.Get[appsv1.Deployment](ctx, p.Client, kube.Deployments, p.Spec.Namespace, w.Deployment)
		if apierrors.IsNotFound(err) {
			others = append(others, w.Image)
			continue
		}
		if err != nil {
			return c, fmt.Errorf("read Deployment %s in namespace %s: %w", w.Deployment, p.Spec.Namespace, err)
		}
		upgrade = true
		if imageOf(live, w.Container) != w.Image {
			c.images = append(c.images, w.Image)
			if err := p.serving(ctx, c.nodes, "app="+w.Deployment); err != nil {
				return c, err
			}
		}
	}
	if db := p.Spec.Pull.Cluster; db != nil {
		live, err := p.Client.Resource(kube.Clusters, p.Spec.Namespace).Get(ctx, db.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return c, fmt.Errorf("read Cluster %s in namespace %s: %w", db.Name, p.Spec.Namespace, err)
		}
		if err == nil {
			image, _, _ := unstructured.NestedString(live.Object, "spec", "imageName")
			// One of another major version is not used, unless that is meant: see database.KeepLive.
			kept := database.Major(image) != database.Major(db.Image) && !p.Spec.Gate.Allow.MajorUpgrade
			if image != db.Image && !kept {
				c.images = append(c.images, db.Image)
				if err := p.serving(ctx, c.nodes, "cnpg.io/cluster="+db.Name); err != nil {
					return c, err
				}
			}
		}
	}
	if !upgrade {
		return changed{}, nil
	}
	c.images = append(c.images, others...)
	slices.Sort(c.images)
	c.images = slices.Compact(c.images)
	return c, nil
}

func imageOf(d *appsv1.Deployment, container string) string {
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// serving adds the nodes of the pods that a selector finds, as far as they are ready.
func (p *Prepare) serving(ctx context.Context, nodes map[string]bool, selector string) error {
	pods, err := kube.List[corev1.Pod](ctx, p.Client, kube.Pods, p.Spec.Namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list pods with %s in namespace %s: %w", selector, p.Spec.Namespace, err)
	}
	for _, pod := range pods {
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if ready && pod.Spec.NodeName != "" {
			nodes[pod.Spec.NodeName] = true
		}
	}
	return nil
}

// onNodes gives the Job one container an image and one pod a node; without nodes, one pod anywhere.
func onNodes(job *batchv1.Job, images, nodes []string) {
	spec := &job.Spec.Template.Spec
	prototype := spec.Containers[0]
	spec.Containers = nil
	for i, image := range images {
		c := prototype
		c.Name, c.Image = fmt.Sprintf("%s-%d", prototype.Name, i+1), image
		spec.Containers = append(spec.Containers, c)
	}
	if len(nodes) == 0 {
		return
	}
	count := int32(len(nodes))
	job.Spec.Completions, job.Spec.Parallelism = &count, &count
	var terms []corev1.NodeSelectorTerm
	for _, node := range nodes {
		terms = append(terms, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}})
	}
	spec.Affinity = &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}},
		PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: job.Spec.Template.Labels}, TopologyKey: corev1.LabelHostname,
		}}},
	}
}
