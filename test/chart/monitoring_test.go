package chart_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/neutree-ai/packaging/test/contract"
)

func TestNothingOfPrometheusUnlessAskedFor(t *testing.T) {
	for _, object := range renderAll(t).Objects {
		if strings.HasPrefix(object.GetAPIVersion(), monitoringv1.SchemeGroupVersion.Group+"/") {
			t.Errorf("%s needs a kind that the cluster may not have", object)
		}
	}
}

// A monitor selects what there is, by a port that it has, and Prometheus is let through to it.
func TestMonitors(t *testing.T) {
	objects := renderFor(t, target{json: []string{
		`global.monitoring={"enabled":true,"labels":{"release":"prometheus","app":"mine"},"interval":"1m"}`,
		`global.networkPolicies.usersFrom=[{"namespaceSelector":{"matchLabels":{"name":"edge"}}}]`,
	}}).Objects
	own := ours(objects)

	monitor := find[*monitoringv1.ServiceMonitor](t, own, namespace, "nap-cp")
	service := find[*corev1.Service](t, own, namespace, "nap-cp")
	endpoint := monitor.Spec.Endpoints[0]
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[key] != value {
			t.Errorf("ServiceMonitor selects %s=%s, and the Service has %q", key, value, service.Labels[key])
		}
	}
	if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == endpoint.Port }) || endpoint.Path != "/metrics" || endpoint.Interval != "1m" {
		t.Errorf("ServiceMonitor: endpoint = %+v, and the Service has %v", endpoint, service.Spec.Ports)
	}
	if monitor.Labels["release"] != "prometheus" || monitor.Labels["app"] != "nap-cp" {
		t.Errorf("ServiceMonitor: labels = %v", monitor.Labels)
	}
	pods := find[*monitoringv1.PodMonitor](t, own, namespace, "nap-pg")
	if pods.Spec.Selector.MatchLabels["cnpg.io/cluster"] != cluster(t, objects).GetName() || *pods.Spec.PodMetricsEndpoints[0].Port != "metrics" {
		t.Errorf("PodMonitor = %+v", pods.Spec)
	}

	n := networkOf(t, objects)
	prometheus, other := host{namespace: "monitoring", labels: labels.Set{"app": "prometheus"}}, host{namespace: "other", labels: labels.Set{"app": "prometheus"}}
	for to, port := range map[string]int32{"cp": 3000, contract.Database: 9187} {
		if !n.admits(prometheus, n.hosts[to], port) {
			t.Errorf("Prometheus does not reach port %d of %s", port, to)
		}
		if n.admits(other, n.hosts[to], port) {
			t.Errorf("another namespace reaches port %d of %s", port, to)
		}
	}
	if n.admits(prometheus, n.hosts[contract.Database], 5432) {
		t.Error("Prometheus reaches the database itself")
	}

	outside := ours(renderAll(t, append(slices.Clone(external), "global.monitoring.enabled=true")...).Objects)
	if slices.ContainsFunc(outside, isKind("PodMonitor")) || !slices.ContainsFunc(outside, isKind("ServiceMonitor")) {
		t.Error("with a database from outside there is a PodMonitor of it, or no ServiceMonitor")
	}
}

// metrics are those that the control plane serves beside its runtime's, and the operator's that the dashboard shows.
var metrics = regexp.MustCompile(`^(tos_(http_request_duration_seconds|sse_stream_duration_seconds|db_query_duration_seconds)_(bucket|count)` +
	`|tos_(sse_active_streams|sse_open_streams|http_active_requests)|process_resident_memory_bytes|nodejs_heap_size_used_bytes` +
	`|cnpg_(backends_total|pg_settings_setting|pg_database_size_bytes|pg_replication_lag))$`)

func TestDashboard(t *testing.T) {
	for _, object := range ours(render(t).Objects) {
		if object.GetName() == "nap-dashboard" {
			t.Errorf("%s is made for a Grafana that nobody named", object)
		}
	}
	config := find[*corev1.ConfigMap](t, ours(render(t, "global.monitoring.dashboard.enabled=true", "global.monitoring.dashboard.annotations.grafana_folder=Neutree").Objects), namespace, "nap-dashboard")
	if config.Labels["grafana_dashboard"] != "1" || config.Annotations["grafana_folder"] != "Neutree" {
		t.Errorf("ConfigMap: labels %v, annotations %v", config.Labels, config.Annotations)
	}
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(config.Data["neutree.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if seen[panel.ID] || panel.Title == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %d %q has the number of another, no title or no query", panel.ID, panel.Title)
		}
		seen[panel.ID] = true
		for _, target := range panel.Targets {
			for _, name := range regexp.MustCompile(`[a-z_]+\{`).FindAllString(target.Expr, -1) {
				if !metrics.MatchString(strings.TrimSuffix(name, "{")) {
					t.Errorf("panel %q asks for %s, which nobody serves", panel.Title, name)
				}
			}
		}
	}
	if dashboard.UID == "" || len(dashboard.Panels) == 0 {
		t.Error("the dashboard is empty")
	}
}

func TestSidecarsOfWorkspacesAreBounded(t *testing.T) {
	limits := find[*corev1.LimitRange](t, ours(render(t).Objects), workspace, "nap-workspaces").Spec.Limits
	if len(limits) != 1 || limits[0].Type != corev1.LimitTypeContainer || limits[0].Default.Memory().IsZero() || limits[0].DefaultRequest.Memory().IsZero() {
		t.Errorf("LimitRange = %+v", limits)
	}
	for name, to := range map[string]target{
		"turned off":    {json: []string{"global.workspaces.sidecarResources=null"}},
		"one namespace": {set: []string{"global.workspaces.namespace=" + namespace}},
	} {
		if slices.ContainsFunc(ours(renderFor(t, to).Objects), isKind("LimitRange")) {
			t.Errorf("%s: a LimitRange is rendered", name)
		}
	}
}
