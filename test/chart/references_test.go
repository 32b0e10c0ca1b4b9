package chart_test

import (
	"maps"
	"regexp"
	"slices"
	"testing"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
)

// madeSecrets are the keys of the Secrets that the hooks make or check, by name.
func madeSecrets(t *testing.T, objects []chart.Object) map[string]map[string]bool {
	t.Helper()
	spec := prepareSpec(t, objects).Secrets
	keys := map[string]map[string]bool{}
	for _, secret := range spec.Secrets {
		keys[secret.Name] = map[string]bool{}
		for key := range secret.Data {
			keys[secret.Name][key] = true
		}
	}
	for _, secret := range spec.Secrets {
		for key, from := range secret.Data {
			var parts []hook.SecretRef
			if from.PostgresURL != nil {
				parts = []hook.SecretRef{from.PostgresURL.UserFrom, from.PostgresURL.PasswordFrom}
				if from.PostgresURL.URLFrom != nil {
					parts = []hook.SecretRef{*from.PostgresURL.URLFrom}
				}
			}
			if from.File != nil {
				parts = slices.Collect(maps.Values(from.File.Values))
			}
			for _, part := range parts {
				if !keys[part.Secret][part.Key] {
					t.Errorf("prepare.yaml: %s.%s is made from %s.%s, which is not listed", secret.Name, key, part.Secret, part.Key)
				}
			}
		}
	}
	return keys
}

func TestReferencesLeadSomewhere(t *testing.T) {
	for name, to := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderFor(t, to).Objects)
			rendered := map[string]bool{}
			for _, object := range objects {
				rendered[object.GetKind()+" "+namespaceOf(object)+"/"+object.GetName()] = true
			}
			secrets := madeSecrets(t, objects)
			// Claims of the user's own, which guard looks for.
			given := map[string]bool{}
			for _, claim := range specOf[hook.GuardSpec](t, objects, specConfigMap(t, jobs(t, objects)["guard"]), "guard").Claims {
				given[claim.Name] = claim.Required && claim.Namespace == namespace
			}
			if scheduled := bootstrapSpec(t, objects).Scheduled; scheduled != "" {
				given[specOf[hook.BackupSpec](t, objects, scheduled, "backup").Claim] = true
			}
			for _, p := range pods(t, objects) {
				if key := "ServiceAccount " + namespaceOf(p.from) + "/" + p.spec().ServiceAccountName; !rendered[key] {
					t.Errorf("%s: %s is not rendered", p.from, key)
				}
				for _, volume := range p.spec().Volumes {
					if volume.ConfigMap != nil && !ptr.Deref(volume.ConfigMap.Optional, false) &&
						!rendered["ConfigMap "+namespace+"/"+volume.ConfigMap.Name] {
						t.Errorf("%s: volume %s: ConfigMap %s is not rendered", p.from, volume.Name, volume.ConfigMap.Name)
					}
					if volume.Secret != nil && secrets[volume.Secret.SecretName] == nil &&
						!rendered["Secret "+namespace+"/"+volume.Secret.SecretName] {
						t.Errorf("%s: volume %s: Secret %s is neither rendered nor made by the hooks", p.from, volume.Name,
							volume.Secret.SecretName)
					}
					if claim := volume.PersistentVolumeClaim; claim != nil && !given[claim.ClaimName] && !rendered["PersistentVolumeClaim "+namespace+"/"+claim.ClaimName] {
						t.Errorf("%s: volume %s: claim %s is not rendered", p.from, volume.Name, claim.ClaimName)
					}
				}
				for _, c := range p.containers() {
					checkEnvReferences(t, p, c, objects, secrets)
				}
			}
		})
	}
}

func checkEnvReferences(t *testing.T, p pod, c corev1.Container, objects []chart.Object, secrets map[string]map[string]bool) {
	t.Helper()
	for variable, env := range variables(t, p, c) {
		if env.ValueFrom == nil || env.ValueFrom.FieldRef != nil {
			continue
		}
		if ref := env.ValueFrom.SecretKeyRef; ref != nil && !secrets[ref.Name][ref.Key] {
			t.Errorf("%s: container %s: %s is read from Secret %s key %s, which the hooks neither make nor check", p.from, c.Name, variable, ref.Name, ref.Key)
		}
		if ref := env.ValueFrom.ConfigMapKeyRef; ref != nil && !bootstrapWrites(t, objects, ref.Name, ref.Key) {
			t.Errorf("%s: container %s: %s is read from ConfigMap %s key %s, which bootstrap does not write", p.from, c.Name, variable, ref.Name, ref.Key)
		}
	}
	if len(c.EnvFrom) > 0 {
		t.Errorf("%s: container %s has envFrom: name each variable", p.from, c.Name)
	}
}

func bootstrapWrites(t *testing.T, objects []chart.Object, configMap, key string) bool {
	t.Helper()
	job := bootstrapJob(t, objects)
	storage := specOf[hook.BootstrapSpec](t, objects, specConfigMap(t, job), "bootstrap").Storage
	if storage.ConfigMap != configMap {
		return false
	}
	for _, class := range storage.Classes {
		if class.Key == key {
			return true
		}
	}
	return false
}

var secretName = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|_KEY$|DATABASE_URL`)

func TestNoSecretStandsInAnObject(t *testing.T) {
	objects := renderAll(t, "global.imagePullSecrets[0].name=regcred").Objects
	for _, p := range pods(t, ours(objects)) {
		for _, c := range p.containers() {
			for variable, env := range variables(t, p, c) {
				if secretName.MatchString(variable) && variable != "IMAGE_PULL_SECRET" && env.Value != "" {
					t.Errorf("%s: container %s: %s is a value, want a secretKeyRef", p.from, c.Name, variable)
				}
			}
			// Kubernetes expands $(NAME) in args before the process starts: any reader of the process list sees it.
			for _, arg := range append(c.Args, c.Command...) {
				if secretName.MatchString(arg) {
					t.Errorf("%s: container %s: the argument %q holds a secret when the process runs", p.from, c.Name, arg)
				}
			}
		}
	}
	for _, object := range objects {
		// What only a hook reads goes with it.
		if object.GetKind() == "Secret" && (object.Hook == nil || !slices.Contains(object.Hook.DeletePolicies, release.HookSucceeded)) {
			t.Errorf("%s: Secrets are made by the hooks, or a render would change them", object)
		}
	}
	seed := specOf[hook.SeedSpec](t, objects, specConfigMap(t, jobs(t, objects)["seed"]), "seed")
	for _, word := range seed.Seeds[0].Command {
		if word == "$(ADMIN_PASSWORD)" {
			return
		}
	}
	t.Errorf("seed.yaml: %q does not take the password from $(ADMIN_PASSWORD)", seed.Seeds[0].Command)
}
