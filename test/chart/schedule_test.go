package chart_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

const (
	nightly  = "global.backup.schedule=30 2 * * *"
	schedule = prefix + "-scheduled-backup"
)

func TestNoScheduleUnlessAskedFor(t *testing.T) {
	if slices.ContainsFunc(ours(renderAll(t).Objects), isKind("CronJob")) {
		t.Error("a CronJob is rendered")
	}
}

// It runs what also makes a backup by hand: nothing differs but what can't be given to a CronJob later.
func TestScheduledJobIsThatOfThePlan(t *testing.T) {
	for name, set := range map[string][]string{
		"default": nil,
		"changed": {
			"global.imagePullSecrets[0].name=regcred", "global.backup.tolerations[0].operator=Exists",
			"global.scheduling.priorityClassName=high", "global.backup.resources.limits.memory=2Gi", "global.mesh=istio",
			"global.commonLabels.team=platform", "global.hooks.timeouts.backup=3600", "global.hooks.extraEnv[0].name=A",
			"global.hooks.extraEnv[0].value=b",
		},
		"external": external,
		"image": {"global.backup.image.registry=r.example.com", "global.backup.image.repository=postgres",
			"global.backup.image.tag=16-bookworm"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderFor(t, target{set: append([]string{nightly}, set...)}).Objects)
			plan := backupPlan(t, objects)
			job := find[*batchv1.CronJob](t, objects, namespace, schedule).Spec.JobTemplate.Spec
			main, pod := &job.Template.Spec.Containers[0], &job.Template.Spec
			notOfPlan := func(name string) bool { return name == "JOB_NAME" || name == restorenote.Env }
			env := len(main.Env)
			main.Env = slices.DeleteFunc(main.Env, func(v corev1.EnvVar) bool { return notOfPlan(v.Name) })
			main.VolumeMounts = slices.DeleteFunc(main.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == "restore" && m.MountPath == "/restore" && m.ReadOnly
			})
			pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool {
				return v.Name == "restore" && v.ConfigMap.Name == prefix+"-restore" && *v.ConfigMap.Optional
			})
			args := strings.Join(main.Args, " ")
			main.Args = slices.DeleteFunc(main.Args, func(arg string) bool {
				return arg == "scheduled" || arg == "--job=$(JOB_NAME)"
			})
			rules := job.PodFailurePolicy.Rules
			again := slices.IndexFunc(rules, func(rule batchv1.PodFailurePolicyRule) bool {
				return rule.Action == batchv1.PodFailurePolicyActionIgnore && rule.OnExitCodes != nil &&
					slices.Equal(rule.OnExitCodes.Values, []int32{int32(hook.Busy)})
			})
			if again < 0 || env != len(main.Env)+2 || !strings.HasSuffix(args, " scheduled --job=$(JOB_NAME)") {
				t.Fatalf("rules %v, args %q, env %v", rules, args, main.Env)
			}
			job.PodFailurePolicy.Rules = slices.Delete(rules, again, again+1)
			if diff := cmp.Diff(plan.Create.Spec, job); diff != "" {
				t.Errorf("it differs from the Job of the plan (-plan +CronJob):\n%s", diff)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	objects := ours(render(t, nightly, "global.backup.timeZone=Europe/Berlin", "global.backup.suspend=true",
		"global.backup.startingDeadlineSeconds=600", "global.backup.failedJobsHistoryLimit=5").Objects)
	cron := find[*batchv1.CronJob](t, objects, namespace, schedule)
	got := fmt.Sprint(cron.Spec.Schedule, ", ", *cron.Spec.TimeZone, ", ", *cron.Spec.Suspend, ", ",
		cron.Spec.ConcurrencyPolicy, ", ", *cron.Spec.StartingDeadlineSeconds, ", ", *cron.Spec.SuccessfulJobsHistoryLimit,
		", ", *cron.Spec.FailedJobsHistoryLimit)
	if want := "30 2 * * *, Europe/Berlin, true, Forbid, 600, 3, 5"; got != want {
		t.Errorf("the CronJob says %s, want %s", got, want)
	}
	want := map[string]string{"app.kubernetes.io/part-of": "neutree", "app.kubernetes.io/instance": "neutree",
		"app.kubernetes.io/component": platform.ScheduledBackup}
	if diff := cmp.Diff(want, cron.Spec.JobTemplate.Labels); diff != "" {
		t.Errorf("a restore, a rollback and an uninstall find the Jobs by other labels:\n%s", diff)
	}
	if zone := prepareSpec(t, objects).TimeZone; zone != "Europe/Berlin" {
		t.Errorf("the hook before an upgrade checks time zone %q", zone)
	}
	if note := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup").RestoreNote; note != prefix+"-restore" {
		t.Errorf("the note of a restore is %q", note)
	}
	if zone := prepareSpec(t, ours(render(t, "global.backup.timeZone=Europe/Berlin").Objects)).TimeZone; zone != "" {
		t.Errorf("without a schedule the hook before an upgrade checks time zone %q", zone)
	}
}

// Bootstrap makes the PVC, also where upgrades make no backups.
func TestBootstrapMakesTheClaimOfSchedules(t *testing.T) {
	for _, skip := range []string{"false", "true"} {
		objects := render(t, nightly, "global.backup.skip="+skip).Objects
		if spec := bootstrapSpec(t, objects); spec.Scheduled != prefix+"-backup" {
			t.Errorf("skip=%s: bootstrap reads ConfigMap %q", skip, spec.Scheduled)
		}
		role := find[*rbacv1.Role](t, ours(objects), namespace, prefix+"-bootstrap")
		for _, right := range []struct{ verb, resource, name string }{
			{"get", "configmaps", prefix + "-backup"}, {"create", "persistentvolumeclaims", ""},
			{"get", "persistentvolumeclaims", prefix + "-backups"}, {"patch", "persistentvolumeclaims", prefix + "-backups"},
		} {
			if !slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Verbs, right.verb) && slices.Contains(rule.Resources, right.resource) &&
					(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, right.name))
			}) {
				t.Errorf("skip=%s: bootstrap may not %s %s %s", skip, right.verb, right.resource, right.name)
			}
		}
	}
	if spec := bootstrapSpec(t, render(t).Objects); spec.Scheduled != "" {
		t.Errorf("without a schedule bootstrap makes the PVC by ConfigMap %s", spec.Scheduled)
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	for schedule, want := range map[string]string{
		"nightly":          `"nightly" is no schedule of a CronJob: it has 1 fields, and a schedule has 5`,
		"0 2 * *":          `it has 4 fields`,
		"0 0 2 * * *":      `it has 6 fields`,
		"60 2 * * *":       `"60" is no minute, which is from 0 to 59`,
		"0 24 * * *":       `"24" is no hour, which is from 0 to 23`,
		"0 2 0 * *":        `"0" is no day of month, which is from 1 to 31`,
		"0 2 * 13 *":       `"13" is no month, which is from 1 to 12`,
		"0 2 * * 7":        `"7" is no day of week, which is from 0 to 6`,
		"0 2 * * FRI-MON":  `"FRI-MON" is no day of week: it begins after its end`,
		"0 2 * * FOO":      `"FOO" is no day of week`,
		"MON 2 * * *":      `"MON" is no minute`,
		"*/0 2 * * *":      `"*/0" is no minute`,
		"0 2,,3 * * *":     `"" is no hour`,
		"0 5-2 * * *":      `"5-2" is no hour: it begins after its end`,
		"a 2 * * *":        `"a" is no minute`,
		"@every 6h":        `@every 6h is none of @hourly, @daily, @weekly, @monthly and @yearly`,
		"TZ=UTC 0 2 * * *": `it has 6 fields`,
	} {
		_, err := tryRender(target{json: []string{fmt.Sprintf("global.backup.schedule=%q", schedule)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "global.backup.schedule") {
			t.Errorf("%q: it does not say %q: %v", schedule, want, err)
		}
	}
	for _, schedule := range []string{"30 2 * * *", " 0 2 * * * ", "*/15 0-23/2 1,15 JAN-jun MON", "@daily",
		"59 23 31 12 6", "08 09 ? * ?"} {
		if _, err := tryRender(target{json: []string{fmt.Sprintf("global.backup.schedule=%q", schedule)}}); err != nil {
			t.Errorf("%q: %v", schedule, err)
		}
	}
	for words, set := range map[string][]string{
		`global.backup.schedule is "30 2 * * *", and global.backup.enabled=false turns all backups off`: {nightly,
			"global.backup.enabled=false"},
		`global.backup.timeZone "CEST+2 summer" is no name of the time zone database`: {nightly,
			"global.backup.timeZone=CEST+2 summer"},
		`global.backup.timeZone "Local" is no name`: {nightly, "global.backup.timeZone=Local"},
	} {
		if _, err := tryRender(target{set: set}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("it does not say %q: %v", words, err)
		}
	}
}

// alerts are the alerts of a render, by name.
func alerts(t *testing.T, objects []chart.Object) map[string]monitoringv1.Rule {
	t.Helper()
	found := map[string]monitoringv1.Rule{}
	rules := find[*monitoringv1.PrometheusRule](t, ours(objects), namespace, prefix+"-alerts")
	for _, group := range rules.Spec.Groups {
		for _, rule := range group.Rules {
			found[rule.Alert] = rule
		}
	}
	return found
}

func TestAlertsOfScheduledBackups(t *testing.T) {
	monitored := []string{nightly, "global.monitoring.enabled=true"}
	objects := render(t, append(monitored, "global.monitoring.labels.release=prometheus")...).Objects
	rules := find[*monitoringv1.PrometheusRule](t, ours(objects), namespace, prefix+"-alerts")
	if rules.Labels["release"] != "prometheus" {
		t.Errorf("labels %v", rules.Labels)
	}
	page := anchors(t, "backup.md")
	found := alerts(t, objects)
	for _, name := range []string{"NeutreeScheduledBackupOverdue", "NeutreeScheduledBackupFailed"} {
		rule := found[name]
		want := "https://github.com/neutree-ai/packaging/blob/main/docs/backup.md#" + name
		if rule.Annotations["runbook_url"] != want || !slices.Contains(page, name) {
			t.Errorf("%s: runbook_url %q, want %q, which docs/backup.md has", name, rule.Annotations["runbook_url"], want)
		}
		expr := rule.Expr.String()
		for _, selector := range []string{`namespace="nap"`, `"nap-scheduled-backup`} {
			if !strings.Contains(expr, selector) {
				t.Errorf("%s: %s does not select %s", name, expr, selector)
			}
		}
	}
	for _, set := range [][]string{{nightly}, {"global.monitoring.enabled=true"},
		append(monitored, "global.monitoring.alerts.enabled=false"), append(monitored, "global.backup.schedule=")} {
		if slices.ContainsFunc(ours(render(t, set...).Objects), isKind("PrometheusRule")) {
			t.Errorf("%v: there is a PrometheusRule", set)
		}
	}
}

// Helm would fail before it applies anything, without saying which value asks for the kind.
func TestAlertsNeedTheirKind(t *testing.T) {
	answer := func(kinds ...string) func(chart.Lookup) map[string]any {
		return func(asked chart.Lookup) map[string]any {
			if asked.Kind == "Namespace" && asked.Name == "kube-system" || slices.Contains(kinds, asked.Name) {
				return map[string]any{"metadata": map[string]any{"name": asked.Name}}
			}
			return nil
		}
	}
	const (
		clusters = "clusters.postgresql.cnpg.io"
		monitors = "servicemonitors.monitoring.coreos.com"
		rules    = "prometheusrules.monitoring.coreos.com"
	)
	to := target{set: []string{nightly, "global.monitoring.enabled=true"}, answer: answer(clusters, monitors)}
	words := "global.monitoring.alerts.enabled is true, but the cluster has no PrometheusRules"
	if _, err := tryRender(to); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("it does not say %q: %v", words, err)
	}
	to.answer = answer(clusters, monitors, rules)
	if _, err := tryRender(to); err != nil {
		t.Error(err)
	}
}

func TestHoursUntilAScheduleIsOverdue(t *testing.T) {
	for schedule, hours := range map[string]int{
		"30 2 * * *": 26, "0 */6 * * *": 26, "@hourly": 3, "@daily": 26, "30 2 * * 1-5": 74, "30 2 * * 0": 170, "30 2 */2 * *": 74, "30 2 */1 */1 *": 50, "@weekly": 170,
		"30 2 1 * *": 750, "30 2 1 1 *": 8790, "@yearly": 8790,
	} {
		rule := alerts(t, renderFor(t, target{set: []string{"global.monitoring.enabled=true"},
			json: []string{fmt.Sprintf("global.backup.schedule=%q", schedule)}}).Objects)["NeutreeScheduledBackupOverdue"]
		if want := fmt.Sprintf(" > %d\n", hours*3600); !strings.Contains(rule.Expr.String(), want) {
			t.Errorf("%q: %s is not%s", schedule, rule.Expr.String(), want)
		}
	}
	rule := alerts(t, render(t, nightly, "global.monitoring.enabled=true",
		"global.monitoring.alerts.backupHours=50").Objects)["NeutreeScheduledBackupOverdue"]
	if !strings.Contains(rule.Expr.String(), " > 180000\n") || !strings.Contains(rule.Annotations["summary"], "50 hours") {
		t.Errorf("the value does not count: %+v", rule)
	}
}

var anchor = regexp.MustCompile(`<a id="([^"]+)">`)

// anchors are those of a page of docs.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range anchor.FindAllStringSubmatch(string(raw), -1) {
		found = append(found, match[1])
	}
	return found
}
