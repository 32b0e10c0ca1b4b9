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
		text, ok := config.Data[PlanFile]
		if !ok {
			continue
		}
		var plan Plan
		err := yaml.UnmarshalStrict([]byte(text), &plan)
		if err == nil {
			err = plan.Validate()
		}
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

func called(release string) string {
	if release == "" {
		return ""
	}
	return " called " + release
}
