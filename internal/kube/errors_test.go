package kube

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func status(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}

func TestErrors(t *testing.T) {
	const denied = `pods is forbidden: User "system:serviceaccount:nap:nap-guard" cannot create resource "pods" in API group "" in the namespace "nap"`
	for _, tc := range []struct {
		name                   string
		err                    error
		permission             string
		webhookDown, permanent bool
		brief                  string
	}{
		{
			name: "no right in a namespace", err: fmt.Errorf("try: %w", status(403, metav1.StatusReasonForbidden, denied)), permanent: true, brief: denied,
			permission: "system:serviceaccount:nap:nap-guard may not create pods in namespace nap",
		},
		{
			name:       "no right in the cluster",
			err:        status(403, metav1.StatusReasonForbidden, `storageclasses.storage.k8s.io is forbidden: User "u" cannot list resource "storageclasses" in API group "storage.k8s.io" at the cluster scope`),
			permission: "u may not list storageclasses.storage.k8s.io in the whole cluster",
			permanent:  true,
			brief:      `storageclasses.storage.k8s.io is forbidden: User "u" cannot list resource "storageclasses" in API group "storage.k8s.io" at the cluster scope`,
		},
		{
			name: "a field that is not known, with the whole object around it",
			err: status(422, metav1.StatusReasonInvalid, `"" is invalid: patch: Invalid value: "{\"value\":\"secret\"}": `+
				`strict decoding error: unknown field "spec.volume"`),
			permanent: true, brief: `strict decoding error: unknown field "spec.volume"`,
		},
		{
			name:      "refused by admission, not by RBAC",
			err:       status(403, metav1.StatusReasonForbidden, `admission webhook "x" denied the request: no`),
			permanent: true, brief: `admission webhook "x" denied the request: no`,
		},
		{
			name:        "webhook without endpoints",
			err:         status(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "mcluster.cnpg.io": failed to call webhook: Post "https://x": no endpoints available for service "cnpg-webhook-service"`),
			webhookDown: true,
			brief:       `Internal error occurred: failed calling webhook "mcluster.cnpg.io": failed to call webhook: Post "https://x": no endpoints available for service "cnpg-webhook-service"`,
		},
		{name: "another internal error", err: status(500, metav1.StatusReasonInternalError, "etcdserver: leader changed"), brief: "etcdserver: leader changed"},
		{name: "not found passes", err: apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x"), brief: `pods "x" not found`},
		{name: "no API error", err: errors.New("two\nlines"), brief: "two lines"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := MissingPermission(tc.err); got != tc.permission {
				t.Errorf("permission %q, want %q", got, tc.permission)
			}
			if got := AdmissionWebhookDown(tc.err); got != tc.webhookDown {
				t.Errorf("webhook down %v, want %v", got, tc.webhookDown)
			}
			if got := Permanent(tc.err); got != tc.permanent {
				t.Errorf("permanent %v, want %v", got, tc.permanent)
			}
			if got := Brief(tc.err); got != tc.brief {
				t.Errorf("brief %q, want %q", got, tc.brief)
			}
		})
	}
}
