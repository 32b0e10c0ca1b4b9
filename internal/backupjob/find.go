package backupjob

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Find reads the plan of the release in namespace. With several, release names one.
func Find(ctx context.Context, client *kube.Client, namespace, release string) (Plan, error) {
	selector := "app.kubernetes.io/part-of=neutree,app.kubernetes.io/component=backup"
	if release != "" {
		selector += ",app.kubernetes.io/instance=" + release
	}
	configs, err := kube.List[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		if denied, is := kube.Denied(err); is {
			return Plan{}, hook.Refuse(denied)
		}
		return Plan{}, fmt.Errorf("look for the release in namespace %s: %s", namespace, kube.Brief(err))
	}
	var plans []Plan
	var names []string
	for _, config := range configs {
		if _, ok := config.Data[PlanFile]; !ok {
			continue
		}
		plan, err := decode(&config)
		if err != nil {
			return Plan{}, hook.Refusef(finding.BackupRelease, "use the plugin of the chart's version",
				"ConfigMap %s in namespace %s does not fit this version of the plugin (%v)",
				config.Name, namespace, err)
		}
		plans, names = append(plans, plan), append(names, plan.Release)
	}
	switch len(plans) {
	case 0:
		return Plan{}, hook.Refusef(finding.BackupRelease,
			"name its namespace with --namespace; if it is the right one, set global.backup.enabled=true by an upgrade",
			"namespace %s holds no release%s with backups", namespace, called(release))
	case 1:
		return plans[0], nil
	}
	return Plan{}, hook.Refusef(finding.BackupRelease, "choose one with --release, of "+strings.Join(names, ", "),
		"namespace %s holds several releases", namespace)
}

// Read reads the plan in the ConfigMap called name. A ConfigMap that does not exist is an error of the API server's.
func Read(ctx context.Context, client *kube.Client, namespace, name string) (Plan, error) {
	config, err := kube.Get[corev1.ConfigMap](ctx, client, kube.ConfigMaps, namespace, name)
	if err != nil {
		return Plan{}, fmt.Errorf("read ConfigMap %s in namespace %s: %w", name, namespace, err)
	}
	plan, err := decode(config)
	if err != nil {
		return Plan{}, hook.Errorf(hook.Usage, "the plan in ConfigMap %s in namespace %s: %w", name, namespace, err)
	}
	return plan, nil
}

func decode(config *corev1.ConfigMap) (Plan, error) {
	var plan Plan
	if err := yaml.UnmarshalStrict([]byte(config.Data[PlanFile]), &plan); err != nil {
		return Plan{}, err
	}
	return plan, plan.Validate()
}

func called(release string) string {
	if release == "" {
		return ""
	}
	return " called " + release
}
