package rotate_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/rotate"
)

func TestPodsThatDoNotBecomeReady(t *testing.T) {
	s := newStage(t)
	ready := s.server.Object(deployments + "nap-cg").Object["status"]
	pending := map[string]any{"replicas": int64(1), "updatedReplicas": int64(1)}
	late := map[string]any{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
	wantLate := func(ctx context.Context, words string) {
		t.Helper()
		_, err := s.rotation("jwt").Run(ctx)
		words = "the rotation of jwt has not ended: Deployment nap-cg in namespace nap is not ready: " +
			"0 of 1 new pods are ready" + words + ". Fix the cause and run the same command again: it finishes the rest and makes no other value"
		if hook.CodeOf(err) != hook.Unexpected || err.Error() != words {
			t.Fatalf("exit code %d: %v\nwant %s", hook.CodeOf(err), err, words)
		}
	}
	gaveUp := map[string]any{"conditions": []any{late}, "replicas": int64(1), "updatedReplicas": int64(1)}
	s.set(deployments+"nap-cg", gaveUp, "status")
	wantLate(t.Context(), "")
	values := s.values()
	s.server.Put(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: nap-cg-new, namespace: nap, labels: {app: nap-cg}, annotations: {neutree.ai/secrets: %q}}
status:
  phase: Pending
  containerStatuses: [{name: main, image: cg, state: {waiting: {reason: ImagePullBackOff, message: gone}}}]
`, s.versions()["nap-cg"]))
	const why = "; pod nap-cg-new does not start: ImagePullBackOff of cg: gone"
	wantLate(t.Context(), why)
	s.set(deployments+"nap-cg", pending, "status")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantLate(ctx, why)
	s.set(deployments+"nap-cg", ready, "status")
	s.mustRun("jwt", "jwt had a new value already, which the services now use: restarted nap-cg, nap-cp")
	if changed := different(values, s.values()); len(changed) > 0 {
		t.Errorf("a later run has changed %v", changed)
	}
	s.wantDone()
}

// A tool sets the old value back while the services restart.
func TestAValueThatIsSetBack(t *testing.T) {
	s := newStage(t)
	ready := s.server.Object(deployments + "nap-cg").Object["status"]
	s.set(deployments+"nap-cg", map[string]any{"replicas": int64(1), "updatedReplicas": int64(1)}, "status")
	path, restarted := deployments+"nap-cg", make(chan struct{})
	s.server.Judge(func(r kubetest.Request) *metav1.Status {
		if r.Method == "PATCH" && r.Path == path {
			close(restarted)
		}
		return nil
	})
	old := strings.Repeat("o", 64)
	go func() {
		<-restarted
		s.setKey("nap-cp-secret", "JWT_SECRET", old)
		s.set(path, ready, "status")
	}()
	_, err := s.rotation("jwt").Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "a Secret was changed by another client while the services restarted") {
		t.Fatal(err)
	}
	s.server.Judge(nil)
	s.mustRun("jwt", "jwt had a new value already, which the services now use: restarted nap-cg, nap-cp")
	if s.values()["nap-cp-secret/JWT_SECRET"] != base64.StdEncoding.EncodeToString([]byte(old)) {
		t.Error("the other client's value was replaced")
	}
	s.wantDone()
}

func TestAnotherOwnerIsNamed(t *testing.T) {
	for owner, of := range map[string]struct {
		value any
		field []string
	}{
		"External Secrets": {"true", []string{"metadata", "labels", "reconcile.external-secrets.io/managed"}},
		"ArgoCD":           {"app:/Secret:nap/x", []string{"metadata", "annotations", kube.ArgoTracking}},
		"Flux":             {"apps", []string{"metadata", "labels", "kustomize.toolkit.fluxcd.io/name"}},
		"SealedSecret keys": {[]any{map[string]any{"kind": "SealedSecret", "name": "keys"}},
			[]string{"metadata", "ownerReferences"}},
		"field manager vault":  {[]any{managed("vault", "JWT_SECRET")}, []string{"metadata", "managedFields"}},
		"":                     {[]any{managed("vault", "PLATFORM_SERVICE_KEY")}, []string{"metadata", "managedFields"}},
		"- nap-hooks":          {[]any{managed(kube.FieldManager, "JWT_SECRET")}, []string{"metadata", "managedFields"}},
		"- a person's kubectl": {[]any{managed("kubectl-patch", "JWT_SECRET")}, []string{"metadata", "managedFields"}},
	} {
		t.Run(owner, func(t *testing.T) {
			s := newStage(t)
			s.set(secrets+"nap-cp-secret", of.value, of.field...)
			if _, err := s.rotation("jwt").Intend(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := "Warning: " + owner + " also writes Secret nap-cp-secret in namespace nap: it may set the new value back"
			if strings.TrimLeft(owner, "-") != owner || owner == "" {
				if s.said.Len() > 0 {
					t.Errorf("it says %s", s.said.String())
				}
			} else if !strings.Contains(s.said.String(), want) || !strings.Contains(s.said.String(), "[secrets.other-owner]") {
				t.Errorf("it does not say %q: %s", want, s.said.String())
			}
		})
	}
}

func managed(manager, key string) map[string]any {
	return map[string]any{"manager": manager, "operation": "Update", "fieldsV1": map[string]any{
		"f:data": map[string]any{"f:" + key: map[string]any{}}}}
}

// The page says of each rotation what the command says.
func TestThePageListsTheRotations(t *testing.T) {
	page, err := os.ReadFile("../../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range rotate.Kinds() {
		row := regexp.MustCompile("(?m)^\\| `" + kind.Name + "` \\|.*\\| (.*) \\|$").FindStringSubmatch(string(page))
		if row == nil || row[1] != kind.Notice {
			t.Errorf("docs/secrets.md says of %s what users notice: %q; the command says %q", kind.Name, row, kind.Notice)
		}
	}
}
