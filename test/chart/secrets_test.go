package chart_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/rotate"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// secretsPlan is what the plugin reads.
func secretsPlan(t *testing.T, objects []chart.Object) secretplan.Plan {
	t.Helper()
	var plans []secretplan.Plan
	for _, object := range ours(objects) {
		config, is := typed(t, object).(*corev1.ConfigMap)
		if !is || config.Data[secretplan.File] == "" {
			continue
		}
		var plan secretplan.Plan
		if err := yaml.UnmarshalStrict([]byte(config.Data[secretplan.File]), &plan); err != nil {
			t.Fatal(err)
		}
		if err := plan.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := config.Labels["app.kubernetes.io/component"]; got != "secrets" || object.Hook != nil {
			t.Errorf("%s: component %q, hook %v: the plugin does not find it", object, got, object.Hook)
		}
		plans = append(plans, plan)
	}
	if len(plans) != 1 {
		t.Fatalf("%d plans, want 1", len(plans))
	}
	return plans[0]
}

func TestSecretsPlan(t *testing.T) {
	keys, sandbox, browser := prefix+"-cp-secret", prefix+"-sandbox-secret", prefix+"-browser-secret"
	always := map[string]secretplan.Rotation{
		"jwt":         {Secret: keys, Keys: []string{"JWT_SECRET"}},
		"service-key": {Secret: keys, Keys: []string{"PLATFORM_SERVICE_KEY"}},

		"credential-key": {Secret: keys, Keys: []string{"CREDENTIAL_ENCRYPTION_KEY"}},
		"database":       {Secret: prefix + "-pg-user", Keys: []string{"password"}},
		"admin":          {Secret: prefix + "-admin", Keys: []string{"password"}},
	}
	all := maps.Clone(always)
	all["sandbox"] = secretplan.Rotation{Secret: sandbox, Keys: []string{"JWT_SECRET", "SERVICE_KEY"}}
	all["browser"] = secretplan.Rotation{Secret: browser, Keys: []string{"JWT_SECRET"}}
	all["turn"] = secretplan.Rotation{Secret: browser, Keys: []string{"TURN_AUTH_SECRET"}}
	for name, tc := range map[string]struct {
		objects   []chart.Object
		rotations map[string]secretplan.Rotation
	}{
		"default": {render(t).Objects, always},
		"all":     {renderAll(t).Objects, all},
	} {
		t.Run(name, func(t *testing.T) {
			plan, prepare := secretsPlan(t, tc.objects), prepareSpec(t, tc.objects)
			if diff := cmp.Diff(tc.rotations, plan.Rotations); diff != "" {
				t.Errorf("rotations:\n%s", diff)
			}
			if diff := cmp.Diff(prepare.Secrets, plan.Secrets); diff != "" {
				t.Errorf("the plugin and the hook know other Secrets:\n%s", diff)
			}
			if diff := cmp.Diff(prepare.Restart, plan.Restart); diff != "" {
				t.Errorf("the plugin and the hook restart other services:\n%s", diff)
			}
			if plan.Release != releaseName || plan.Record != prepare.Migrate.URL.Secret ||
				plan.RestoreNote != prepare.Gate.RestoreNote {
				t.Errorf("release %q, record %q, note %q", plan.Release, plan.Record, plan.RestoreNote)
			}
		})
	}
	if names := slices.Sorted(slices.Values(rotate.Names())); !slices.Equal(names, slices.Sorted(maps.Keys(all))) {
		t.Errorf("the plugin rotates %v, the chart %v", names, slices.Sorted(maps.Keys(all)))
	}
}

// The Job of a rotation asks nothing of Kubernetes, has the database at hand and no key.
func TestTheJobOfRotations(t *testing.T) {
	objects := renderAll(t).Objects
	plan := secretsPlan(t, objects)
	job, pod := plan.Job, plan.Job.Spec.Template.Spec
	config := find[*corev1.ConfigMap](t, objects, namespace, pod.Volumes[0].ConfigMap.Name)
	var spec hook.RotateSpec
	if err := yaml.UnmarshalStrict([]byte(config.Data["rotate.yaml"]), &spec); err != nil || spec.Validate() != nil ||
		spec.EncryptionKey.Secret != plan.Rotations["credential-key"].Secret || spec.Admin != plan.Rotations["admin"].Secret {
		t.Errorf("spec %+v, %v", spec, err)
	}
	account := find[*corev1.ServiceAccount](t, objects, namespace, pod.ServiceAccountName)
	if *account.AutomountServiceAccountToken || pod.AutomountServiceAccountToken != nil && *pod.AutomountServiceAccountToken {
		t.Error("its pod has a token")
	}
	var env []string
	for _, one := range pod.Containers[0].Env {
		env = append(env, one.Name)
	}
	if !slices.Equal(env, []string{"DATABASE_URL"}) || pod.Containers[0].Args[0] != "rotate" {
		t.Errorf("args %v, variables %v", pod.Containers[0].Args, env)
	}
	if job.Name != prefix+"-rotate" || job.Spec.Template.Labels["app"] != job.Name || plan.Keyring != prefix+"-credential-key-rotation" {
		t.Errorf("Job %s with the label %s, keyring %s", job.Name, job.Spec.Template.Labels["app"], plan.Keyring)
	}
	policy := find[*networkingv1.NetworkPolicy](t, objects, namespace, prefix+"-pg")
	if !slices.ContainsFunc(policy.Spec.Ingress[0].From, func(peer networkingv1.NetworkPolicyPeer) bool {
		return peer.PodSelector != nil && (peer.PodSelector.MatchLabels["app"] == job.Name ||
			slices.ContainsFunc(peer.PodSelector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
				return r.Key == "app" && slices.Contains(r.Values, job.Name)
			}))
	}) {
		t.Errorf("the database does not admit the Job: %+v", policy.Spec.Ingress[0].From)
	}
}

// In an external database the password is in a Secret of the user's, or the whole address.
func TestTheDatabaseRotationOfAnExternalDatabase(t *testing.T) {
	for set, want := range map[string]string{"": "password", "global.database.external.urlKey=uri": "uri"} {
		sets := []string{"global.database.mode=external", "cloudnative-pg.enabled=false",
			"global.database.external.existingSecret=mine", "global.database.external.host=db.example.com"}
		if set != "" {
			sets = append(sets[:3], set)
		}
		plan := secretsPlan(t, render(t, sets...).Objects)
		rotation := plan.Rotations["database"]
		s, _ := plan.Secret(rotation.Secret)
		if rotation.Secret != "mine" || !slices.Equal(rotation.Keys, []string{want}) || !s.Existing {
			t.Errorf("%+v of %+v", rotation, s)
		}
	}
}

// The plugin leaves Secrets alone that the user named, and says where.
func TestSecretsPlanOfGivenSecrets(t *testing.T) {
	plan := secretsPlan(t, renderAll(t, "global.secrets.existingSecret=mine", "global.secrets.browser.existingSecret=turn",
		"browser.coturn.enabled=false").Objects)
	for name, want := range map[string]string{
		"jwt": "global.secrets.existingSecret", "turn": "global.secrets.browser.existingSecret",
	} {
		s, known := plan.Secret(plan.Rotations[name].Secret)
		if !known || !s.Existing || s.Value != want {
			t.Errorf("%s is in %+v, want one that %s names", name, s, want)
		}
	}
	if s, _ := plan.Secret(plan.Rotations["sandbox"].Secret); s.Existing {
		t.Error("a generated Secret is taken for a given one")
	}
	if slices.Contains(plan.Restart, prefix+"-coturn") || slices.Contains(plan.Restart, "coturn") {
		t.Errorf("a TURN server that is not the chart's is restarted: %v", plan.Restart)
	}
}

// A ConfigMap may be read by many. What the values say about a Secret is the name of a user at most, and a file in
// which the value is a placeholder.
func TestTheSecretsPlanHoldsNoSecret(t *testing.T) {
	for name, to := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			confidential := 0
			for _, s := range secretsPlan(t, renderFor(t, to).Objects).Secrets.Secrets {
				for key, data := range s.Data {
					if data.Value != "" && key != "username" {
						t.Errorf("the value of %s/%s is part of the plan", s.Name, key)
					}
					if data.Public && data.Generate != nil {
						t.Errorf("%s/%s is random and called public", s.Name, key)
					}
					if data.Confidential() {
						confidential++
					}
					if data.File == nil {
						continue
					}
					for placeholder := range data.File.Values {
						if !strings.Contains(data.File.Text, "$("+placeholder+")") {
							t.Errorf("%s/%s has no placeholder for %s", s.Name, key, placeholder)
						}
					}
				}
			}
			if confidential < 4 {
				t.Errorf("only %d keys are secret", confidential)
			}
		})
	}
}
