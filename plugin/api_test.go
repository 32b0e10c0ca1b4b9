package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// served are the kinds of a cluster on which nothing is installed yet, by group and version.
var served = map[string]string{
	"v1":                              "ConfigMap Secret Service ServiceAccount PersistentVolumeClaim Pod Event Node/cluster Namespace/cluster PersistentVolume/cluster",
	"apps/v1":                         "Deployment",
	"batch/v1":                        "Job",
	"policy/v1":                       "PodDisruptionBudget",
	"storage.k8s.io/v1":               "StorageClass/cluster CSIDriver/cluster",
	"networking.k8s.io/v1":            "NetworkPolicy Ingress",
	"rbac.authorization.k8s.io/v1":    "Role RoleBinding ClusterRole/cluster ClusterRoleBinding/cluster",
	"apiextensions.k8s.io/v1":         "CustomResourceDefinition/cluster",
	"admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration/cluster ValidatingWebhookConfiguration/cluster",
}

// inNamespace matches the path of what is in a namespace.
var inNamespace = regexp.MustCompile(`/namespaces/[^/]+/([^/]+)$`)

// emptyCluster writes a kubeconfig for an API server that knows the kinds and holds no objects. Nobody may change it.
func emptyCluster(t *testing.T) string {
	t.Helper()
	return emptyClusterThat(t, func(r *http.Request) { t.Errorf("%s %s: nothing is to be changed", r.Method, r.URL.Path) })
}

// readOnlyCluster is an empty cluster that refuses each change.
func readOnlyCluster(t *testing.T) string {
	t.Helper()
	return emptyClusterThat(t, func(*http.Request) {})
}

func emptyClusterThat(t *testing.T, onChange func(*http.Request)) string {
	t.Helper()
	answers := map[string]any{
		"/version": map[string]string{"gitVersion": "v1.34.4"},
		"/api":     metav1.APIVersions{Versions: []string{"v1"}},
	}
	// lists are empty, by the path of the kind in all namespaces.
	lists := map[string]any{}
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
			group, version := "", gv
			if before, after, found := strings.Cut(gv, "/"); found {
				group, version = before, after
			}
			plural, singular := kubetest.ResourceOf(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: plural, SingularName: singular, Kind: kind, Namespaced: !cluster,
				Verbs: metav1.Verbs{"get", "list", "create"},
			})
			lists[path+"/"+plural] = metav1.PartialObjectMetadataList{
				TypeMeta: metav1.TypeMeta{APIVersion: gv, Kind: kind + "List"}, Items: []metav1.PartialObjectMetadata{},
			}
		}
		answers[path] = list
	}
	answers["/apis"] = groups
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, found := answers[r.URL.Path]
		if !found {
			answer, found = lists[inNamespace.ReplaceAllString(r.URL.Path, "/$1")]
		}
		if r.Method != http.MethodGet {
			onChange(r)
			w.WriteHeader(http.StatusForbidden)
			answer = kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden, "nobody may change anything here")
		} else if !found {
			w.WriteHeader(http.StatusNotFound)
			answer = kubetest.Status(http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return kubeconfigOf(t, server.URL)
}
