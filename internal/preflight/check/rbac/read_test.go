package rbac

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	discovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	core "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const role = `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: nap}, rules: [{apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}]}`

// user answers for one with rights written as "verb resource"; "*" is everything. listed are those that the rules
// review tells of, hidden those that only the access review knows, as with an authorizer that can't list.
type user struct{ listed, hidden []string }

func (u user) subject(t *testing.T) (*preflight.Subject, *int) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(role), &object.Object); err != nil {
		t.Fatal(err)
	}
	set := &requirement.Set{Release: "neutree", Namespace: "nap", Workspaces: "nap", Objects: []requirement.Object{{Unstructured: object, By: requirement.Helm}}}
	subject := checktest.Subject(t, kubetest.New(t), set)
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nap"}})
	client.Discovery().(*discovery.FakeDiscovery).Resources = []*metav1.APIResourceList{
		{GroupVersion: "rbac.authorization.k8s.io/v1", APIResources: []metav1.APIResource{{Name: "roles", Kind: "Role", Namespaced: true}}},
	}
	questions := 0
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action core.Action) (bool, runtime.Object, error) {
		questions++
		review := action.(core.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		a := review.Spec.ResourceAttributes
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		review.Status.Allowed = slices.Contains(u.hidden, a.Verb+" "+resource)
		return true, review, nil
	})
	client.PrependReactor("create", "selfsubjectrulesreviews", func(action core.Action) (bool, runtime.Object, error) {
		questions++
		review := action.(core.CreateAction).GetObject().(*authorizationv1.SelfSubjectRulesReview)
		if review.Spec.Namespace != nowhere {
			for _, right := range u.listed {
				verb, resource, _ := strings.Cut(right, " ")
				review.Status.ResourceRules = append(review.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{verb}, APIGroups: []string{"*"}, Resources: []string{resource}})
			}
		}
		return true, review, nil
	})
	client.PrependReactor("create", "selfsubjectreviews", func(core.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "system:serviceaccount:ci:deployer"}}}, nil
	})
	subject.Cluster.Typed = client
	return subject, &questions
}

func TestRights(t *testing.T) {
	everything := []string{
		"get secrets", "list secrets", "create secrets", "update secrets", "delete secrets",
		"get roles", "list roles", "watch roles", "create roles", "patch roles", "delete roles", "patch deployments/scale",
	}
	without := func(right string) []string {
		return slices.DeleteFunc(slices.Clone(everything), func(r string) bool { return r == right })
	}
	for _, tc := range []struct {
		name           string
		user           user
		install, grant []string
		questions      int
	}{
		{name: "an administrator, in one question", user: user{hidden: []string{"* *"}}, questions: 1},
		{name: "by listed rules, in three", user: user{listed: everything}, questions: 3},
		{name: "by an authorizer that can't list", user: user{hidden: everything}, questions: 3 + len(everything)},
		{
			name: "a right is missing", user: user{listed: without("create roles")}, questions: 5,
			install: []string{"system:serviceaccount:ci:deployer may not create roles.rbac.authorization.k8s.io in namespace nap (Role nap/r) -> let an administrator run: helm neutree rbac neutree CHART --namespace nap --subject=serviceaccount:ci:deployer | kubectl apply -f -"},
		},
		{
			name: "a right to grant is missing", user: user{listed: without("patch deployments/scale")}, questions: 6,
			grant: []string{"may not patch deployments/scale.apps in namespace nap (granted by Role nap/r)"},
		},
		{
			name: "who may escalate and bind needs not hold it", questions: 6,
			user: user{listed: without("patch deployments/scale"), hidden: []string{"escalate roles", "bind roles"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subject, questions := tc.user.subject(t)
			checktest.Want(t, checktest.Run(t, Checks(), "rbac.install", subject), tc.install...)
			checktest.Want(t, checktest.Run(t, Checks(), "rbac.grant", subject), tc.grant...)
			if *questions > tc.questions {
				t.Errorf("%d questions, want at most %d", *questions, tc.questions)
			}
		})
	}
}
