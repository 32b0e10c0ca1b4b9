package chart_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
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
