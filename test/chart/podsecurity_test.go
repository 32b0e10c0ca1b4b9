package chart_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/neutree-ai/packaging/internal/hook"
)

// exceptions are the pods that a setting keeps from passing Pod Security "restricted": what is held against
// them, and why the setting exists. With the defaults there is none.
var exceptions = map[string]struct {
	pod, reason string
	forbidden   []string
	// privileged says that the pod does not even pass "baseline".
	privileged bool
}{
	"workspaceRuntime.afsController.runAsUser=0": {
		pod:       "afs-controller",
		reason:    "a volume that another installation wrote as root can be read on by root only",
		forbidden: []string{"runAsNonRoot != true", "runAsUser=0"},
	},
	"browser.coturn.network=hostNetwork": {
		pod:        "coturn",
		reason:     "clusters without a load balancer and without host ports have no other way to a relay",
		forbidden:  []string{"host namespaces"},
		privileged: true,
	},
	"browser.coturn.network=hostPort": {
		pod:        "coturn",
		reason:     "clusters without a load balancer reach a relay by an address of its node",
		forbidden:  []string{"hostPort"},
		privileged: true,
	},
}

func TestPodsAreRestricted(t *testing.T) {
	for p, results := range forbidden(t, api.LevelRestricted) {
		t.Errorf("%s: not restricted: %v", p, results)
	}
	for setting, exception := range exceptions {
		found := forbidden(t, api.LevelRestricted, setting)
		for p, results := range found {
			if !strings.HasSuffix(p, "/"+exception.pod) {
				t.Errorf("with %s (%s) %s: not restricted: %v", setting, exception.reason, p, results)
				continue
			}
			for _, result := range results {
				if !slices.Contains(exception.forbidden, result.ForbiddenReason) {
					t.Errorf("with %s (%s) %s: not restricted: %v", setting, exception.reason, p, result)
				}
			}
		}
		if len(found) == 0 {
			t.Errorf("with %s every pod is restricted: drop the exception", setting)
		}
	}
}

// Nothing else in the release's namespace needs more than "baseline", so it may enforce that.
func TestPodsAreBaseline(t *testing.T) {
	for setting, exception := range exceptions {
		if exception.privileged {
			guard := specOf[hook.GuardSpec](t, renderAll(t, setting).Objects, prefix+"-pre-install", "guard")
			if want := (hook.PodSecurityCheck{Namespace: namespace, Level: "privileged", Value: strings.Split(setting, "=")[0],
				Account: prefix + "-prepare-jobs"}); !slices.Contains(guard.PodSecurity, want) {
				t.Errorf("with %s guard.yaml: podSecurity = %v, want %v among them", setting, guard.PodSecurity, want)
			}
			continue
		}
		for p, results := range forbidden(t, api.LevelBaseline, setting) {
			t.Errorf("with %s %s: not baseline: %v", setting, p, results)
		}
	}
}

// The pods of every values file that comes with the chart pass too, but for these exceptions.
func TestPodsOfEveryProfileAreRestricted(t *testing.T) {
	excepted := map[string][]string{}
	for _, exception := range exceptions {
		excepted[exception.pod] = append(excepted[exception.pod], exception.forbidden...)
	}
	// It opens the controller's file, as the controller's user.
	excepted["acme-scheduled-backup"] = excepted["afs-controller"]
	for name, to := range profiles(t) {
		for p, results := range forbiddenFor(t, api.LevelRestricted, to) {
			for _, result := range results {
				if !slices.Contains(excepted[path.Base(p)], result.ForbiddenReason) {
					t.Errorf("%s: %s: not restricted: %v", name, p, result)
				}
			}
		}
	}
}

// forbidden is what a level holds against the pods that are rendered with all modules, by the object that makes them.
func forbidden(t *testing.T, level api.Level, set ...string) map[string][]policy.CheckResult {
	t.Helper()
	return forbiddenFor(t, level, target{set: slices.Concat(everyModule, set)})
}

func forbiddenFor(t *testing.T, level api.Level, to target) map[string][]policy.CheckResult {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]policy.CheckResult{}
	for _, p := range pods(t, ours(renderFor(t, to).Objects)) {
		spec := p.spec()
		for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &p.template.ObjectMeta, &spec) {
			if !result.Allowed {
				found[p.from.String()] = append(found[p.from.String()], result)
			}
		}
	}
	return found
}
