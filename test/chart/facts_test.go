package chart_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/cli/values"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// Every chart reads the same facts, and they are those of internal/platform.
func TestEveryChartReadsTheFacts(t *testing.T) {
	if err := assembled(); err != nil {
		t.Fatal(err)
	}
	loaded, err := chart.Load(umbrella)
	if err != nil {
		t.Fatal(err)
	}
	charts := []*helmchart.Chart{loaded}
	for _, below := range loaded.Dependencies() {
		if name := below.Name(); name != operator && name != "common" {
			charts = append(charts, below)
		}
	}
	for _, ch := range charts {
		ch.Templates = append(ch.Templates, &helmchart.File{Name: "templates/facts.yaml", Data: fmt.Appendf(nil,
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: facts-%s}\ndata:\n  facts: {{ include \"common.facts\" . | fromJson | toJson | quote }}\n",
			ch.Name())})
	}
	merged, err := chart.Values(values.Options{Values: everyModule, ValueFiles: []string{source + "/ci/ldap-values.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(loaded, chart.Options{Release: releaseName, Namespace: namespace, Values: merged,
		Kubernetes: chart.Kubernetes{Version: kubernetes}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range charts {
		var got platform.Facts
		config := find[*corev1.ConfigMap](t, ours(rendered.Objects), namespace, "facts-"+ch.Name())
		if err := json.Unmarshal([]byte(config.Data["facts"]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(platform.ChartFacts(), got); diff != "" {
			t.Errorf("chart %s reads other facts than internal/platform has: run make generate (-want +got):\n%s", ch.Name(), diff)
		}
	}
}

// What the facts say about a service is what its Deployment has.
func TestDeploymentsFollowTheFacts(t *testing.T) {
	facts := platform.ChartFacts()
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		service := facts.Services[w.Name]
		deployment := find[*appsv1.Deployment](t, objects, namespace, w.FullName(prefix))
		for _, object := range objects {
			got := object.GetLabels()["app.kubernetes.io/component"]
			if object.GetName() == w.FullName(prefix) && got != service.Component {
				t.Errorf("%s: component %q, want %q", object, got, service.Component)
			}
		}
		spec := deployment.Spec.Template.Spec
		if grace := spec.TerminationGracePeriodSeconds; (grace == nil) != (service.Grace == nil) ||
			grace != nil && *grace != int64(service.Grace.Seconds) {
			t.Errorf("terminationGracePeriodSeconds is %v, want %v", grace, service.Grace)
		}
		container := spec.Containers[0]
		if probe := container.StartupProbe; (service.Port == 0) != (probe == nil) ||
			service.Start != nil && int(probe.PeriodSeconds*probe.FailureThreshold) != service.Start.Seconds {
			t.Errorf("startupProbe is %v, want time for %v", probe, service.Start)
		}
		if recreated := deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType; recreated != (service.Replace != "") ||
			recreated != (w.Rollout == platform.Recreate) {
			t.Errorf("strategy is %s, while two pods %q", deployment.Spec.Strategy.Type, service.Replace)
		}
	})
}

// The Jobs of the facts are those that the chart makes, and those that these make.
func TestJobsAreThoseOfTheFacts(t *testing.T) {
	objects := ours(renderAll(t, deleteData, "global.upgrade.rebuildWorkspaces=true").Objects)
	found := map[string]string{}
	for _, p := range pods(t, objects) {
		if p.from.GetKind() == "Job" {
			found[p.template.Labels["app.kubernetes.io/component"]] = p.from.String()
		}
	}
	plan := backupPlan(t, objects)
	for _, job := range []batchv1.Job{plan.Create, plan.Restore, *secretsPlan(t, objects).Job} {
		found[job.Spec.Template.Labels["app.kubernetes.io/component"]] = "Job " + job.Name
	}
	known := map[string]bool{}
	for _, job := range platform.HookJobs() {
		known[job.Component] = true
		if found[job.Component] == "" {
			t.Errorf("no Job of the component %s is rendered", job.Component)
		}
	}
	for component, from := range found {
		if !known[component] {
			t.Errorf("%s: its component %s is not in platform.HookJobs, so recover does not wait for it", from, component)
		}
	}
	for _, object := range objects {
		component := object.GetLabels()["app.kubernetes.io/component"]
		awaited := object.Hook != nil && component != platform.Test
		if object.GetKind() == "Job" && awaited != slices.Contains(platform.HookComponents(), component) {
			t.Errorf("%s: a Helm client waits for it: %t, which platform.HookJobs denies", object, awaited)
		}
	}
}

// No template repeats a port: all read it from the facts.
func TestTemplatesRepeatNoPort(t *testing.T) {
	facts := platform.ChartFacts()
	var ports []string
	for _, service := range facts.Services {
		ports = append(ports, fmt.Sprint(service.Port), fmt.Sprint(service.ServicePort))
	}
	for _, port := range []int32{facts.Database.Port, facts.Database.Status, facts.Database.Metrics,
		facts.Workspaces.Agent, facts.Workspaces.Files, facts.Workspaces.Memory} {
		ports = append(ports, fmt.Sprint(port))
	}
	ports = slices.DeleteFunc(ports, func(port string) bool { return port == "0" })
	repeated := regexp.MustCompile(`\b(` + strings.Join(ports, "|") + `)\b`)
	read := 0
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, "/templates/") || entry.Name() == "_facts.tpl" ||
			entry.Name() == "_defaults.tpl" ||
			strings.Contains(path, "/charts/"+operator) {
			return err
		}
		raw, err := os.ReadFile(path)
		for n, line := range strings.Split(string(raw), "\n") {
			read++
			if port := repeated.FindString(line); port != "" {
				t.Errorf("%s:%d repeats port %s: read it from common.facts", path, n+1, port)
			}
		}
		return err
	})
	if err != nil || read == 0 {
		t.Errorf("%d lines of templates read: %v", read, err)
	}
}
