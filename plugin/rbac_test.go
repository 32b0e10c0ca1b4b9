package main_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// What is printed is what kubectl apply takes: roles and bindings, and the namespaces only on request, so that kubectl delete
// with the same output keeps the release's data.
func TestRBACPrintsRoles(t *testing.T) {
	binary, kubeconfig, chart := filepath.Join(install(t), "bin", "helm-neutree"), emptyCluster(t), requirementtest.Umbrella(t)
	roles := func(t *testing.T, args ...string) []*unstructured.Unstructured {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, append([]string{"rbac", "neutree", chart, "--namespace", "nap"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		warned := strings.Count(stderr.String(), "\n")
		if apply := !slices.Contains(args, "--namespaces") && !slices.Contains(args, "--revoke"); apply && warned != 2 ||
			!apply && warned != 0 {
			t.Errorf("%v: warnings of namespaces that do not exist:\n%s", args, stderr.String())
		}
		return objects(t, &stdout)
	}
	names := func(all []*unstructured.Unstructured) []string {
		var found []string
		for _, u := range all {
			found = append(found, strings.Trim(u.GetKind()+" "+u.GetNamespace()+"/"+u.GetName(), "/"))
		}
		return found
	}
	bound := roles(t, "--subject", "serviceaccount:ci:deployer", "--subject", "group:operators")
	want := []string{
		"ClusterRole /nap-neutree-installer", "ClusterRoleBinding /nap-neutree-installer",
		"Role nap/nap-neutree-installer", "RoleBinding nap/nap-neutree-installer",
		"Role nap-workspaces/nap-neutree-installer", "RoleBinding nap-workspaces/nap-neutree-installer",
	}
	if diff := cmp.Diff(want, names(bound)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	var binding rbacv1.RoleBinding
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(bound[3].Object, &binding); err != nil {
		t.Fatal(err)
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "ci", Name: "deployer"}, {Kind: "Group", APIGroup: rbacv1.GroupName, Name: "operators"}}
	if diff := cmp.Diff(subjects, binding.Subjects); diff != "" || binding.RoleRef.Name != "nap-neutree-installer" {
		t.Errorf("bound to %s (-want +got):\n%s", binding.RoleRef.Name, diff)
	}
	if got := names(roles(t)); slices.ContainsFunc(got, func(name string) bool {
		return strings.Contains(name,
			"Binding")
	}) || len(got) != 3 {
		t.Errorf("without a subject: %v", got)
	}
	namespaces := []string{"Namespace /nap", "Namespace /nap-workspaces"}
	if diff := cmp.Diff(namespaces, names(roles(t, "--namespaces"))); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	revoked := names(roles(t, "--revoke"))
	slices.Sort(want)
	slices.Sort(revoked)
	if diff := cmp.Diff(want, revoked); diff != "" {
		t.Errorf("revoked (-granted +revoked):\n%s", diff)
	}
	// The rights follow the values.
	ingresses := func(all []*unstructured.Unstructured) (found bool) {
		for _, u := range all {
			var role rbacv1.Role
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				found = found || slices.Contains(rule.Resources, "ingresses") && slices.Contains(rule.Verbs, "create")
			}
		}
		return found
	}
	if with := roles(t, "--set", "global.exposure.type=ingress,global.host=nap.example.com"); !ingresses(with) || ingresses(bound) {
		t.Errorf("the right to make an Ingress: with one %v, without %v", ingresses(with), ingresses(bound))
	}
}

// objects decodes YAML documents, each of which must be an object.
func objects(t *testing.T, from io.Reader) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(from, 4096)
	for {
		u := &unstructured.Unstructured{}
		if err := decoder.Decode(&u.Object); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue // a comment
		}
		if u.GetKind() == "" || u.GetName() == "" {
			t.Fatalf("no object: %v", u.Object)
		}
		all = append(all, u)
	}
}
