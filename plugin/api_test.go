package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// served are the kinds of a cluster on which nothing is installed yet, by group and version.
var served = map[string]string{
	"v1":                              "ConfigMap Secret Service ServiceAccount PersistentVolumeClaim Pod Event Node/cluster Namespace/cluster PersistentVolume/cluster",
	"apps/v1":                         "Deployment",
	"batch/v1":                        "Job",
	"policy/v1":                       "PodDisruptionBudget",
	"networking.k8s.io/v1":            "NetworkPolicy Ingress",
	"rbac.authorization.k8s.io/v1":    "Role RoleBinding ClusterRole/cluster ClusterRoleBinding/cluster",
	"apiextensions.k8s.io/v1":         "CustomResourceDefinition/cluster",
	"admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration/cluster ValidatingWebhookConfiguration/cluster",
}

// emptyCluster writes a kubeconfig for an API server that knows the kinds and holds no objects. Nothing can be made there.
func emptyCluster(t *testing.T) string {
	t.Helper()
	answers := map[string]any{
		"/version": map[string]string{"gitVersion": "v1.34.4"},
		"/api":     metav1.APIVersions{Versions: []string{"v1"}},
	}
	groups := metav1.APIGroupList{}
	for gv, kinds := range served {
		path := "/api/v1"
		if group, version, found := strings.Cut(gv, "/"); found {
			path = "/apis/" + gv
			one := metav1.GroupVersionForDiscovery{GroupVersion: gv, Version: version}
			groups.Groups = append(groups.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{one}, PreferredVersion: one})
		}
		list := metav1.APIResourceList{GroupVersion: gv}
		for _, kind := range strings.Fields(kinds) {
			kind, cluster := strings.CutSuffix(kind, "/cluster")
			plural := strings.ToLower(kind) + "s"
			if strings.HasSuffix(kind, "y") {
				plural = strings.ToLower(strings.TrimSuffix(kind, "y")) + "ies"
			}
			plural = strings.Replace(plural, "ingresss", "ingresses", 1)
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: plural, SingularName: strings.ToLower(kind), Kind: kind, Namespaced: !cluster, Verbs: metav1.Verbs{"get", "list", "create"}})
		}
		answers[path] = list
	}
	answers["/apis"] = groups
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, found := answers[r.URL.Path]
		if r.Method != http.MethodGet {
			t.Errorf("%s %s: nothing is to be changed", r.Method, r.URL.Path)
		}
		if !found {
			w.WriteHeader(http.StatusNotFound)
			answer = metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound, Message: "not found"}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return kubeconfigOf(t, server.URL)
}
