//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// refusal is the name of the policy that refuses an object, and what it says.
const refusal = "refused-by-a-fault-test"

// objectRefused has the API server refuse one of the objects that Helm applies in an upgrade: the eleventh in the
// first run, and one from there on in others. Hooks find no fault with it. Once the cause is gone the release is
// upgraded again, or rolled back.
func objectRefused(back bool) func(*testing.T, *faults) ending {
	return func(t *testing.T, f *faults) ending {
		f.toBase(t)
		const eleventh = 10
		objects := f.manifest(t)
		if len(objects) <= eleventh {
			t.Fatalf("the release has %d objects, want more than %d", len(objects), eleventh)
		}
		index := eleventh
		if f.number > 1 {
			index += f.rand.IntN(len(objects) - eleventh)
		}
		object := objects[index]
		allow := f.refuse(t, object)
		got := f.upgrade(t.Context(), toTen...)
		t.Logf("object %d of %d, %s %s, was refused", index+1, len(objects), object.GetKind(), object.GetName())
		wantRefused(t, got, 4*time.Minute, refusal, object.GetName())
		allow()
		if back {
			f.rollback(t, strconv.Itoa(f.baseRevision))
			f.wantBack(t)
		}
		return unfinished
	}
}

// manifest are the objects of the release, but Jobs, in the order in which Helm applies them.
func (f *faults) manifest(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	got := f.run(t.Context(), time.Minute, "get", "manifest", f.name, "--namespace", f.namespace)
	if got.err != nil {
		t.Fatalf("helm get manifest: %v\n%s", got.err, got.output)
	}
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+got.output, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		// A Job has another name in each revision that changes it.
		if kind := object.GetKind(); kind != "" && kind != "Job" {
			objects = append(objects, object)
		}
	}
	return objects
}

// refuse has the API server refuse changes of an object, by the one who runs the tests and not in dry runs, until the
// function is called that it returns.
func (f *faults) refuse(t *testing.T, object *unstructured.Unstructured) func() {
	t.Helper()
	mapping, err := f.mapper.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
	if err != nil {
		t.Fatal(err)
	}
	reviews := f.client.AuthenticationV1().SelfSubjectReviews()
	me, err := reviews.Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: refusal},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				ResourceNames: []string{object.GetName()},
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule: admissionv1.Rule{APIGroups: []string{mapping.Resource.Group},
						APIVersions: []string{mapping.Resource.Version}, Resources: []string{mapping.Resource.Resource}},
				},
			}}},
			MatchConditions: []admissionv1.MatchCondition{
				{Name: "applied", Expression: "!(has(request.dryRun) && request.dryRun)"},
				{Name: "by-me", Expression: fmt.Sprintf("request.userInfo.username == %q", me.Status.UserInfo.Username)},
			},
			Validations: []admissionv1.Validation{{Expression: "false", Message: refusal}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: refusal},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: refusal, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	admission := f.client.AdmissionregistrationV1()
	if _, err := admission.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bindings := admission.ValidatingAdmissionPolicyBindings()
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var objects dynamic.ResourceInterface = f.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == "namespace" {
		objects = f.dynamic.Resource(mapping.Resource).Namespace(namespaceOf(object, f.namespace))
	}
	// A change that changes nothing is judged like any other.
	await := func(refused bool) {
		t.Helper()
		what := fmt.Sprintf("%s %s is refused: %v", object.GetKind(), object.GetName(), refused)
		eventually(t, time.Minute, what, func(ctx context.Context) (bool, string) {
			_, err := objects.Patch(ctx, object.GetName(), types.MergePatchType, []byte("{}"), metav1.PatchOptions{})
			is := err != nil && strings.Contains(err.Error(), refusal)
			return is == refused && (refused || err == nil), fmt.Sprint(err)
		})
	}
	allow := sync.OnceFunc(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := bindings.Delete(ctx, refusal, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := admission.ValidatingAdmissionPolicies().Delete(ctx, refusal, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(allow)
	await(true)
	return func() {
		t.Helper()
		allow()
		await(false)
	}
}

func namespaceOf(object *unstructured.Unstructured, otherwise string) string {
	if namespace := object.GetNamespace(); namespace != "" {
		return namespace
	}
	return otherwise
}
