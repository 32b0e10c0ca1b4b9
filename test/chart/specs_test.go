package chart_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// specOf decodes what a Job hands to a command of nap-hooks as strictly as the command does.
func specOf[T any](t *testing.T, objects []chart.Object, configMap, command string) T {
	t.Helper()
	var spec T
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, configMap)
	file, ok := config.Data[command+".yaml"]
	if !ok {
		t.Fatalf("ConfigMap %s has no %s.yaml", configMap, command)
	}
	if err := yaml.UnmarshalStrict([]byte(file), &spec); err != nil {
		t.Fatalf("ConfigMap %s: %s.yaml: %v", configMap, command, err)
	}
	return spec
}

func bootstrapSpec(t *testing.T, objects []chart.Object) hook.BootstrapSpec {
	t.Helper()
	return specOf[hook.BootstrapSpec](t, objects, specConfigMap(t, bootstrapJob(t, objects)), "bootstrap")
}

func prepareSpec(t *testing.T, objects []chart.Object) hook.PrepareSpec {
	t.Helper()
	return specOf[hook.PrepareSpec](t, objects, specConfigMap(t, jobs(t, objects)["prepare"]), "prepare")
}

// bootstrapJob is the one Job of the main phase.
func bootstrapJob(t *testing.T, objects []chart.Object) pod {
	t.Helper()
	var jobs []chart.Object
	for _, object := range objects {
		if object.GetKind() == "Job" && object.Hook == nil {
			jobs = append(jobs, object)
		}
	}
	if len(jobs) != 1 || !strings.Contains(jobs[0].GetName(), "-bootstrap-") {
		t.Fatalf("the jobs of the main phase are %v, want …-bootstrap-<hash> alone", jobs)
	}
	return pods(t, jobs)[0]
}

// jobs are all Jobs of a render by the command of nap-hooks that they run.
func jobs(t *testing.T, objects []chart.Object) map[string]pod {
	t.Helper()
	byCommand := map[string]pod{}
	for _, p := range pods(t, ours(objects)) {
		if p.from.GetKind() != "Job" {
			continue
		}
		if len(p.spec().Containers) != 1 {
			t.Fatalf("%s: has %d containers, want 1", p.from, len(p.spec().Containers))
		}
		byCommand[p.spec().Containers[0].Args[0]] = p
	}
	return byCommand
}

// specConfigMap is the ConfigMap that a Job mounts where its --spec points.
func specConfigMap(t *testing.T, p pod) string {
	t.Helper()
	c := p.spec().Containers[0]
	for _, arg := range c.Args {
		file, ok := strings.CutPrefix(arg, "--spec=")
		if !ok {
			continue
		}
		for _, mount := range c.VolumeMounts {
			for _, volume := range p.spec().Volumes {
				if volume.Name == mount.Name && volume.ConfigMap != nil && strings.HasPrefix(file, mount.MountPath+"/") {
					return volume.ConfigMap.Name
				}
			}
		}
		t.Fatalf("%s: %s is in no ConfigMap that the container mounts", p.from, arg)
	}
	t.Fatalf("%s: has no --spec", p.from)
	return ""
}

func TestSpecsFitTheHooks(t *testing.T) {
	decode := map[string]func(*testing.T, []chart.Object, string){
		"guard":     func(t *testing.T, o []chart.Object, c string) { specOf[hook.GuardSpec](t, o, c, "guard") },
		"prepare":   func(t *testing.T, o []chart.Object, c string) { specOf[hook.PrepareSpec](t, o, c, "prepare") },
		"bootstrap": func(t *testing.T, o []chart.Object, c string) { specOf[hook.BootstrapSpec](t, o, c, "bootstrap") },
		"migrate":   func(t *testing.T, o []chart.Object, c string) { specOf[hook.MigrateSpec](t, o, c, "migrate") },
		"rebuild":   func(t *testing.T, o []chart.Object, c string) { specOf[hook.RebuildSpec](t, o, c, "rebuild") },
		"rollback":  func(t *testing.T, o []chart.Object, c string) { specOf[hook.RollbackSpec](t, o, c, "rollback") },
		"seed":      func(t *testing.T, o []chart.Object, c string) { specOf[hook.SeedSpec](t, o, c, "seed") },
		"test":      func(t *testing.T, o []chart.Object, c string) { specOf[hook.TestSpec](t, o, c, "test") },
		"delete":    func(t *testing.T, o []chart.Object, c string) { specOf[hook.DeleteSpec](t, o, c, "delete") },
		"teardown":  func(t *testing.T, o []chart.Object, c string) { specOf[hook.TeardownSpec](t, o, c, "teardown") },
	}
	for name, to := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			objects := renderFor(t, to).Objects
			found := jobs(t, objects)
			for _, command := range []string{"guard", "prepare", "migrate", "bootstrap", "seed", "teardown"} {
				if _, ok := found[command]; !ok {
					t.Errorf("no Job runs nap-hooks %s", command)
				}
			}
			delete(found, "--version")
			for command, p := range found {
				check, known := decode[command]
				if !known {
					t.Errorf("%s: nap-hooks has no command %q that reads a spec", p.from, command)
					continue
				}
				check(t, objects, specConfigMap(t, p))
			}
		})
	}
}

func TestSpecsSayWhatIsRendered(t *testing.T) {
	objects := render(t, "global.exposure.nodePorts.web=31000").Objects
	commands := jobs(t, objects)

	guard := specOf[hook.GuardSpec](t, objects, specConfigMap(t, commands["guard"]), "guard")
	if len(guard.NodePorts) != 1 || guard.NodePorts[0].Port != 31000 || guard.NodePorts[0].Service != "nap-cp" {
		t.Errorf("guard.yaml: nodePorts = %v, want 31000 of nap-cp", guard.NodePorts)
	}
	levels := map[string]string{}
	for _, check := range guard.PodSecurity {
		levels[check.Namespace] = check.Level
	}
	if levels[workspace] != "privileged" {
		t.Errorf("guard.yaml: podSecurity of %s = %q, want privileged: workspaces mount by FUSE", workspace, levels[workspace])
	}
	if levels[namespace] == "privileged" {
		t.Errorf("guard.yaml: podSecurity of %s = privileged, and nothing there needs it", namespace)
	}
	modes := map[string]bool{}
	for _, class := range guard.StorageClasses {
		modes[class.AccessMode] = true
	}
	if !modes["ReadWriteOnce"] || !modes["ReadWriteMany"] {
		t.Errorf("guard.yaml: storageClasses = %v, want one for ReadWriteOnce and one for ReadWriteMany", guard.StorageClasses)
	}

	seed := specOf[hook.SeedSpec](t, objects, specConfigMap(t, commands["seed"]), "seed")
	if seed.Set != set(t, objects) {
		t.Errorf("seed.yaml: set = %s, want %s as everywhere", seed.Set, set(t, objects))
	}
	if len(seed.Seeds) == 0 || !strings.Contains(strings.Join(seed.Seeds[0].Command, " "), "dist/seed-admin.js") {
		t.Errorf("seed.yaml: seeds = %v, want the administrator first: the others need one", seed.Seeds)
	}
	for _, p := range []pod{commands["seed"]} {
		c := p.spec().Containers[0]
		if want := podOf(t, objects, "Deployment", "nap-cp").container(t, "control-plane").Image; c.Image != want {
			t.Errorf("%s: image %s, want that of the control plane %s: the scripts are in it", p.from, c.Image, want)
		}
	}

	teardown := specOf[hook.TeardownSpec](t, objects, specConfigMap(t, commands["teardown"]), "teardown")
	if teardown.Runner != "nap-env-runner-k8s" || teardown.Cluster != "nap-pg" || teardown.Release != releaseName || teardown.Workspaces.Namespace != workspace {
		t.Errorf("teardown.yaml = %+v, want the release's own names", teardown)
	}
}
