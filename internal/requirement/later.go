package requirement

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// later adds what is created at run time besides Set.Objects: by the hooks, and by the operator for the database.
func (d *derivation) later() {
	set := d.set
	add := func(by Maker, namespace string, gvk schema.GroupVersionKind, names ...string) {
		for _, name := range names {
			object := Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{}}, Source: string(by), By: by}
			object.SetGroupVersionKind(gvk)
			object.SetNamespace(namespace)
			object.SetName(name)
			set.Later = append(set.Later, object)
		}
	}
	core := func(kind string) schema.GroupVersionKind { return schema.GroupVersionKind{Version: "v1", Kind: kind} }
	rbac := func(kind string) schema.GroupVersionKind {
		return schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: kind}
	}
	if name := d.bootstrap.Storage.ConfigMap; name != "" {
		add(Bootstrap, set.Namespace, core("ConfigMap"), name)
	}
	if set.Workspaces != set.Namespace {
		add(Bootstrap, set.Workspaces, core("Secret"), d.bootstrap.Workspaces.PullSecrets...)
	}
	if cluster := set.Database.Cluster; cluster != "" {
		add(CloudNativePG, set.Namespace, core("Secret"), cluster+"-ca", cluster+"-server", cluster+"-replication")
		add(CloudNativePG, set.Namespace, core("Service"), cluster+"-rw", cluster+"-ro", cluster+"-r")
		add(CloudNativePG, set.Namespace, core("ConfigMap"), "cnpg-default-monitoring")
		add(CloudNativePG, set.Namespace, core("ServiceAccount"), cluster)
		add(CloudNativePG, set.Namespace, rbac("Role"), cluster)
		add(CloudNativePG, set.Namespace, rbac("RoleBinding"), cluster)
	}
}

// hookJobs adds the Jobs that the hook before an upgrade runs.
func (d *derivation) hookJobs() error {
	for _, object := range d.set.Objects {
		data, _, _ := unstructured.NestedStringMap(object.Object, "data")
		if object.GetKind() != "ConfigMap" || data["prepare.yaml"] == "" {
			continue
		}
		for _, key := range []string{"pull-job.yaml", "migrate-job.yaml", "seed-job.yaml"} {
			var job batchv1.Job
			if err := yaml.Unmarshal([]byte(data[key]), &job); err != nil {
				return fmt.Errorf("%s: %s: %w", object.Source, key, err)
			}
			if job.Name != "" {
				d.set.HookJobs = append(d.set.HookJobs, d.podOf(job))
			}
		}
	}
	if d.backups.Create.Name != "" {
		backup := d.podOf(d.backups.Create)
		d.set.Backup = &backup
		if d.set.Prepare.Migrate.Backup != "" {
			d.set.HookJobs = append(d.set.HookJobs, backup)
		}
	}
	return nil
}

func (d *derivation) podOf(job batchv1.Job) Pod {
	return Pod{
		Owner: "Job " + job.Name, Namespace: d.set.Namespace, Labels: job.Spec.Template.Labels, Spec: job.Spec.Template.Spec,
		Surge: 1, Job: true, By: Helm, Why: job.Labels["app.kubernetes.io/component"],
	}
}
