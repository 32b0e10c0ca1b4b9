package kubetest

import (
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Know makes the double say, to who asks which kinds there are, that it serves these, all in namespaces. Without it there
// are none; objects of every kind can be stored all the same.
func (s *Server) Know(kinds ...schema.GroupVersionKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range kinds {
		if !slices.Contains(s.kinds, kind) {
			s.kinds = append(s.kinds, kind)
		}
	}
}

// serveKinds answers the requests by which a client asks for the kinds that there are.
func (s *Server) serveKinds(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	core := metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{}}
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	resources := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}}
	for _, kind := range s.kinds {
		version := metav1.GroupVersionForDiscovery{GroupVersion: kind.GroupVersion().String(), Version: kind.Version}
		at := "/apis/" + version.GroupVersion
		if kind.Group == "" {
			at, core.Versions = "/api/"+kind.Version, []string{kind.Version}
		} else if !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == kind.Group }) {
			groups.Groups = append(groups.Groups, metav1.APIGroup{Name: kind.Group, PreferredVersion: version,
				Versions: []metav1.GroupVersionForDiscovery{version}})
		}
		if at == r.URL.Path {
			plural, singular := ResourceOf(kind)
			resources.GroupVersion = version.GroupVersion
			resources.APIResources = append(resources.APIResources, metav1.APIResource{Name: plural, SingularName: singular,
				Kind: kind.Kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list"}})
		}
	}
	switch {
	case r.URL.Path == "/api":
		answer(w, http.StatusOK, core)
	case r.URL.Path == "/apis":
		answer(w, http.StatusOK, groups)
	case resources.GroupVersion != "":
		answer(w, http.StatusOK, resources)
	default:
		return false
	}
	return true
}
