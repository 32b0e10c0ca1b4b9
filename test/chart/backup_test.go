package chart_test

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// backupPlan is what the plugin reads.
func backupPlan(t *testing.T, objects []chart.Object) backupjob.Plan {
	t.Helper()
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, prefix+"-backup")
	var plan backupjob.Plan
	if err := yaml.UnmarshalStrict([]byte(config.Data[backupjob.PlanFile]), &plan); err != nil {
		t.Fatal(err)
	}
	if err := plan.Validate(); err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestBackupPlan(t *testing.T) {
	objects := renderAll(t).Objects
	plan := backupPlan(t, objects)
	if plan.Cluster != prefix+"-pg" || plan.Snapshot != nil {
		t.Errorf("cluster %q, snapshot %v", plan.Cluster, plan.Snapshot)
	}
	spec := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup")
	if err := spec.Validate(); err != nil {
		t.Error(err)
	}
	if spec.Claim != plan.Claim.Name || spec.Size != plan.Claim.Spec.Resources.Requests.Storage().String() {
		t.Errorf("the spec says claim %s of %s, the claim is %s of %s", spec.Claim, spec.Size, plan.Claim.Name, plan.Claim.Spec.Resources.Requests.Storage())
	}
	for _, object := range ours(objects) {
		if object.GetKind() == "PersistentVolumeClaim" && object.GetName() == plan.Claim.Name {
			t.Error("the claim is a part of the release: nothing would bind it during an install, and an uninstall would delete it")
		}
	}
	// Whatever waits for the database uses it, and so does the file of AFS's controller.
	for _, name := range []string{"afs-controller", prefix + "-cp", prefix + "-cg", prefix + "-skills", prefix + "-scheduler", prefix + "-env-runner-k8s", prefix + "-sandbox", prefix + "-browser"} {
		if !slices.Contains(plan.Writers, name) {
			t.Errorf("%s would write during a restore", name)
		}
	}
	for _, name := range plan.Writers {
		podOf(t, objects, "Deployment", name)
	}
}

func TestBackupJobs(t *testing.T) {
	objects := renderAll(t).Objects
	plan := backupPlan(t, objects)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	controller := podOf(t, objects, "Deployment", "afs-controller")
	for _, job := range []batchv1.Job{plan.Create, plan.Restore} {
		t.Run(job.Name, func(t *testing.T) {
			template := job.Spec.Template
			for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &template.ObjectMeta, &template.Spec) {
				if !result.Allowed {
					t.Errorf("not restricted: %v", result)
				}
			}
			main := template.Spec.Containers[0]
			for _, env := range main.Env {
				if env.ValueFrom == nil || env.ValueFrom.SecretKeyRef == nil {
					t.Errorf("%s comes from no Secret", env.Name)
				}
			}
			if *template.Spec.AutomountServiceAccountToken {
				t.Error("it holds a token that it has no use for")
			}
			term := template.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
			for key, value := range term.LabelSelector.MatchLabels {
				if template.Labels[key] != value || controller.template.Labels[key] != value {
					t.Errorf("label %s: the Job has %q, the controller %q, the affinity asks for %q", key, template.Labels[key], controller.template.Labels[key], value)
				}
			}
			if *template.Spec.SecurityContext.RunAsUser != *controller.spec().SecurityContext.RunAsUser {
				t.Error("it runs as another user than the controller, whose file it opens")
			}
			// The hooks' own image runs it before the image of the database does.
			if main.Command[0] != "/neutree/nap-hooks" || !slices.ContainsFunc(template.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "install" }) {
				t.Error("nobody brings nap-hooks")
			}
		})
	}
	if env := plan.Create.Spec.Template.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "DATABASE_URL" {
		t.Errorf("a backup gets %v, and needs the database's address alone", env)
	}
	spec := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup")
	if got := len(plan.Restore.Spec.Template.Spec.InitContainers) - 1; got != len(spec.Migrations) {
		t.Errorf("a restore gets the migrations of %d images, the spec names %d", got, len(spec.Migrations))
	}
}

func TestBackupValues(t *testing.T) {
	t.Run("an image of one's own is not replaced by the database's", func(t *testing.T) {
		plan := backupPlan(t, render(t, "global.backup.image.registry=r.example.com", "global.backup.image.repository=postgres", "global.backup.image.tag=16-bookworm").Objects)
		if image := plan.Create.Spec.Template.Spec.Containers[0].Image; image != "r.example.com/postgres:16-bookworm" || plan.Cluster != "" {
			t.Errorf("image %s, cluster %q", image, plan.Cluster)
		}
	})
	t.Run("snapshots", func(t *testing.T) {
		objects := render(t, "global.backup.volumeSnapshotClass=fast").Objects
		plan := backupPlan(t, objects)
		spec, _ := plan.Snapshot["spec"].(map[string]any)
		if plan.Snapshot["kind"] != "Backup" || spec["method"] != "volumeSnapshot" {
			t.Errorf("snapshot %v", plan.Snapshot)
		}
		config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, specConfigMap(t, bootstrapJob(t, objects)))
		if !strings.Contains(config.Data["cluster.yaml"], "className: \"fast\"") {
			t.Error("the Cluster names no class for snapshots")
		}
	})
	t.Run("none", func(t *testing.T) {
		for _, object := range ours(render(t, "global.backup.enabled=false").Objects) {
			if object.GetName() == prefix+"-backup" {
				t.Errorf("%s is there", object)
			}
		}
	})
}
