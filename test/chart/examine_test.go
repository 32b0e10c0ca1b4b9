package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// may tells whether rules grant a verb on a resource, of the object called name, or of any where name is empty.
func may(rules []rbacv1.PolicyRule, group, resource, name, verb string) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		named := name == "" && len(rule.ResourceNames) == 0 || name != "" && slices.Contains(rule.ResourceNames, name)
		return named && slices.Contains(rule.APIGroups, group) && slices.Contains(rule.Resources, resource) &&
			slices.Contains(rule.Verbs, verb)
	})
}

// What a release was installed with is compared with an install that comes after an uninstall, too.
func TestTheRecordOfTheInstallationOutlivesTheRelease(t *testing.T) {
	record := find[*corev1.ConfigMap](t, ours(render(t).Main()), namespace, "neutree-installation")
	want := map[string]string{"helm.sh/resource-policy": "keep",
		"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
	if diff := cmp.Diff(want, record.Annotations); diff != "" {
		t.Errorf("ConfigMap neutree-installation: annotations (-want +got):\n%s", diff)
	}
}

// Bootstrap saves a database that no hook could save, and has the rights for that as long as backups are made at all.
func TestBootstrapMaySaveTheDatabase(t *testing.T) {
	const saving = "nap-" + platform.BackupOfBootstrap
	needs := func(objects []chart.Object, plan backupjob.Plan) map[string]bool {
		rules := find[*rbacv1.Role](t, objects, namespace, "nap-bootstrap").Rules
		return map[string]bool{
			"read the plan":     may(rules, "", "configmaps", "nap-backup", "get"),
			"create the Job":    may(rules, "batch", "jobs", "", "create"),
			"follow the Job":    may(rules, "batch", "jobs", saving, "get"),
			"delete the Job":    may(rules, "batch", "jobs", saving, "delete"),
			"delete other Jobs": may(rules, "batch", "jobs", "", "delete"),
			"create the PVC":    may(rules, "", "persistentvolumeclaims", "", "create"),
			"let the PVC grow":  may(rules, "", "persistentvolumeclaims", plan.Claim.Name, "patch"),
		}
	}
	objects := ours(render(t).Objects)
	spec := bootstrapSpec(t, objects)
	var plan backupjob.Plan
	if err := yaml.UnmarshalStrict([]byte(find[*corev1.ConfigMap](t, objects, namespace,
		spec.Backup).Data[backupjob.PlanFile]), &plan); err != nil {
		t.Fatal(err)
	}
	for what, has := range needs(objects, plan) {
		if want := what != "delete other Jobs"; has != want {
			t.Errorf("bootstrap may %s: %v, want %v", what, has, want)
		}
	}
	job := jobs(t, objects)["bootstrap"]
	if spec.Seconds != 900 || !slices.Contains(job.spec().Containers[0].Args, "--timeout=3360s") {
		t.Errorf("all steps but the backup have %d s, and the Job has the arguments %v", spec.Seconds,
			job.spec().Containers[0].Args)
	}
	for _, set := range []string{"global.backup.enabled=false", "global.backup.skip=true"} {
		objects := ours(render(t, set).Objects)
		spec := bootstrapSpec(t, objects)
		for what, has := range needs(objects, plan) {
			if has || spec.Backup != "" {
				t.Errorf("with %s bootstrap may %s, and its plan is in %q", set, what, spec.Backup)
			}
		}
	}
}

// Both ways to a database know which cluster they run in, by one object that they may read.
func TestTheClusterIsKnownByOneNamespace(t *testing.T) {
	objects := ours(render(t).Objects)
	for _, role := range []string{"nap-nap-bootstrap", "nap-nap-pre-install"} {
		rules := find[*rbacv1.ClusterRole](t, objects, namespace, role).Rules
		if !may(rules, "", "namespaces", "kube-system", "get") || may(rules, "", "namespaces", "", "get") {
			t.Errorf("ClusterRole %s: %v", role, rules)
		}
	}
}

// Prepare knows where the values say that the files of all workspaces are, and may read where they are.
func TestPrepareKnowsTheSharedVolume(t *testing.T) {
	export := &hook.NFSExport{Server: "nfs.example.org", Path: "/exports/nap"}
	nfs := []string{"global.storage.shared.nfs.server=nfs.example.org", "global.storage.shared.nfs.path=/exports/nap"}
	for name, test := range map[string]struct {
		set  []string
		want hook.SharedSource
	}{
		"a class":   {nil, hook.SharedSource{}},
		"an export": {nfs, hook.SharedSource{NFS: export}},
		"by CSI": {append(slices.Clone(nfs), "global.storage.shared.nfs.csi=true"),
			hook.SharedSource{CSI: export}},
		"a folder of a node": {[]string{"global.storage.shared.nodeLocal.enabled=true",
			"global.storage.shared.nodeLocal.node=a"}, hook.SharedSource{Folder: &hook.NodeFolder{Path: "/var/lib/neutree/shared", Node: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(render(t, test.set...).Objects)
			want := &hook.SharedVolume{
				Claim: hook.NamespacedName{Namespace: workspace,
					Name: "afs-shared-storage"}, Volume: "nap-nap-shared", Class: "nap-nap-nfs", Source: test.want,
			}
			spec := specOf[hook.PrepareSpec](t, objects, specConfigMap(t, jobs(t, objects)["prepare"]), "prepare")
			if diff := cmp.Diff(want, spec.Gate.SharedVolume); diff != "" {
				t.Errorf("prepare.yaml: gate.sharedVolume (-want +got):\n%s", diff)
			}
			rules := find[*rbacv1.ClusterRole](t, objects, namespace, "nap-nap-pre-install").Rules
			if !may(rules, "", "persistentvolumes", "nap-nap-shared", "get") || may(rules, "", "persistentvolumes", "", "get") {
				t.Errorf("prepare may not read that volume alone: %v", rules)
			}
		})
	}
	objects := ours(render(t, "global.storage.shared.existingClaim=files").Objects)
	spec := specOf[hook.PrepareSpec](t, objects, specConfigMap(t, jobs(t, objects)["prepare"]), "prepare")
	if spec.Gate.SharedVolume != nil {
		t.Errorf("a PVC of the user's: %+v", spec.Gate.SharedVolume)
	}
}

func TestADatabaseIsHandedOver(t *testing.T) {
	objects := ours(render(t, "global.upgrade.adoptDatabase=old/neutree").Objects)
	prepare := specOf[hook.PrepareSpec](t, objects, specConfigMap(t, jobs(t, objects)["prepare"]), "prepare")
	for name, allow := range map[string]hook.GateOverrides{"prepare": prepare.Gate.Allow, "bootstrap": bootstrapSpec(t,
		objects).Allow} {
		if allow.AdoptDatabase != "old/neutree" {
			t.Errorf("%s takes the database over from %q", name, allow.AdoptDatabase)
		}
	}
}
