// Package operator judges what a change of the CloudNativePG operator does to the databases of the whole Kubernetes
// cluster, and protects the CustomResourceDefinitions that all of them depend on.
package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

const (
	// Label selects the Deployments of operators, of the chart and of the release manifest alike.
	Label = "app.kubernetes.io/name=cloudnative-pg"

	watchNamespace        = "WATCH_NAMESPACE"
	instanceLabel         = "app.kubernetes.io/instance"
	hibernationAnnotation = "cnpg.io/hibernation"
)

// Operator is one that runs.
type Operator struct {
	Namespace, Name string
	// Image is that of its container.
	Image string
	// Watches are the namespaces that it looks after. None stand for all of them.
	Watches []string
}

// String names its Deployment.
func (o *Operator) String() string { return fmt.Sprintf("Deployment %s/%s", o.Namespace, o.Name) }

// LooksAfter reports whether the operator looks after the databases of a namespace.
func (o *Operator) LooksAfter(namespace string) bool { return looksAfter(o.Watches, namespace) }

func looksAfter(watches []string, namespace string) bool {
	return len(watches) == 0 || slices.Contains(watches, namespace)
}

// Of describes the operator of a Deployment, as its environment says.
func Of(deployment *appsv1.Deployment) *Operator {
	found := &Operator{Namespace: deployment.Namespace, Name: deployment.Name}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		found.Image = container.Image
		for _, env := range container.Env {
			if env.Name == watchNamespace {
				found.Watches = namespaces(env.Value)
			}
		}
	}
	return found
}

// namespaces reads a WATCH_NAMESPACE.
func namespaces(list string) []string {
	var names []string
	for _, name := range strings.Split(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Version reads the version from an image's tag. It is nil where the tag is none.
func Version(image string) *version.Version {
	image, _, _ = strings.Cut(image, "@")
	parsed, err := version.ParseGeneric(image[strings.LastIndex(image, ":")+1:])
	if err != nil {
		return nil
	}
	return parsed
}

// Find returns the operator of the release that runs now, nil where there is none. It goes by objects, not by what
// the release's records say: some tools that apply the chart keep no records.
func Find(ctx context.Context, client *kube.Client, spec hook.OperatorSpec) (*Operator, error) {
	list, err := kube.List[appsv1.Deployment](ctx, client, kube.Deployments, spec.RunsIn,
		metav1.ListOptions{LabelSelector: Label})
	if err != nil {
		return nil, fmt.Errorf("look for the release's CloudNativePG operator in namespace %s: %w", spec.RunsIn, err)
	}
	i := slices.IndexFunc(list, func(d appsv1.Deployment) bool {
		return d.DeletionTimestamp == nil && belongs(&d, spec.Release, spec.Namespace)
	})
	if i < 0 {
		return nil, nil
	}
	found := Of(&list[i])
	if spec.ConfigMap == "" {
		return found, nil
	}
	// The operator reads its ConfigMap after its environment.
	config, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, spec.RunsIn, spec.ConfigMap)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("read ConfigMap %s in namespace %s: %w", spec.ConfigMap, spec.RunsIn, err)
	default:
		if watches := namespaces(config.Data[watchNamespace]); len(watches) > 0 {
			found.Watches = watches
		}
	}
	return found, nil
}

// belongs reports whether a Deployment is of the release. Helm's annotations say so. Without Helm there are none, and
// some tools put their own name into the object's labels, but not into those of its pods.
func belongs(d *appsv1.Deployment, release, namespace string) bool {
	if d.Annotations[kube.ReleaseAnnotation] != "" {
		return kube.OtherOwner(d, release, namespace) == ""
	}
	return d.Spec.Template.Labels[instanceLabel] == release
}

// others lists the databases of all namespaces but the release's own. A hibernated one has no pods that an operator would
// look after, and that of a drill is removed by Kubernetes with its Job.
func others(ctx context.Context, client *kube.Client, spec hook.OperatorSpec) ([]metav1.PartialObjectMetadata, error) {
	list, err := client.ListMetadata(ctx, kube.Clusters, "", metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		// There is no such kind.
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the Clusters of all namespaces: %w", err)
	}
	return slices.DeleteFunc(list, func(cluster metav1.PartialObjectMetadata) bool {
		return cluster.Namespace == spec.Namespace && cluster.Name == spec.Cluster ||
			cluster.Annotations[hibernationAnnotation] == "on" || ofDrill(&cluster)
	}), nil
}

// ofDrill says whether a database is the throw-away one of helm neutree backup drill.
func ofDrill(cluster *metav1.PartialObjectMetadata) bool {
	return cluster.Labels["app.kubernetes.io/part-of"] == "neutree" && cluster.Labels["app.kubernetes.io/component"] == "drill"
}

// named is how many databases a message names.
const named = 10

// names are those of databases, as a message has them.
func names(clusters []metav1.PartialObjectMetadata) string {
	var all []string
	for _, cluster := range clusters {
		all = append(all, fmt.Sprintf("Cluster %s/%s", cluster.Namespace, cluster.Name))
	}
	slices.Sort(all)
	if more := len(all) - named; more > 0 {
		all = append(all[:named], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}
