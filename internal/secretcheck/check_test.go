package secretcheck_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/secret"
	"github.com/neutree-ai/packaging/internal/secretcheck"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

const secrets = "/api/v1/namespaces/nap/secrets/"

var plan = secretplan.Plan{
	Release: "neutree", Chart: "neutree 0.2.0", Record: "nap-database", Restart: []string{"nap-cp", "nap-cg"},
	Rotations: map[string]secretplan.Rotation{
		"jwt":         {Secret: "nap-cp-secret", Keys: []string{"JWT_SECRET"}},
		"service-key": {Secret: "nap-cp-secret", Keys: []string{"PLATFORM_SERVICE_KEY"}},
	},
	Secrets: hook.SecretsSpec{Namespace: "nap", Secrets: []hook.Secret{
		{Name: "nap-cp-secret", Data: map[string]hook.SecretKey{"JWT_SECRET": random, "PLATFORM_SERVICE_KEY": random,
			"CREDENTIAL_ENCRYPTION_KEY": random}},
		{Name: "my-admin", Existing: true, Value: "global.admin.existingSecret", Data: map[string]hook.SecretKey{
			"username": {Required: true, Public: true}, "password": {Required: true, MinLength: 6}}},
		{Name: "nap-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{Host: "pg", Port: 5432,
			Database: "nap", UserFrom: hook.SecretRef{Secret: "my-admin", Key: "username"},
			PasswordFrom: hook.SecretRef{Secret: "my-admin", Key: "password"}}}}},
	}},
}

var random = hook.SecretKey{Generate: &hook.GenerateSpec{Bytes: 32}}

const (
	jwt     = "1111111111111111111111111111111111111111111111111111111111111111"
	service = "2222222222222222222222222222222222222222222222222222222222222222"
	key     = "3333333333333333333333333333333333333333333333333333333333333333"
)

// stage is a release whose services work with the values of its Secrets.
func stage(t *testing.T) *kubetest.Server {
	t.Helper()
	server := kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}",
		keys(map[string]string{"JWT_SECRET": jwt, "PLATFORM_SERVICE_KEY": service, "CREDENTIAL_ENCRYPTION_KEY": key}),
		admin("administrator", "s3cret!"), reader("nap-cp"), reader("nap-cg"))
	log, api := slog.New(slog.DiscardHandler), server.Client().Resource(kube.Secrets, "nap")
	if _, err := secret.Ensure(t.Context(), log, api, plan.Secrets); err != nil {
		t.Fatal(err)
	}
	changes, err := secret.Compare(t.Context(), log, api, plan.Secrets, plan.Record)
	if err == nil {
		err = changes.Remember(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func secretOf(name string, data map[string]string) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {name: %s, namespace: nap}\ndata:\n", name)
	for key, value := range data {
		text += fmt.Sprintf("  %s: %s\n", key, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	return text
}

func keys(data map[string]string) string { return secretOf("nap-cp-secret", data) }

func admin(name, password string) string {
	return secretOf("my-admin", map[string]string{"username": name, "password": password})
}

func reader(name string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: nap}
spec:
  template:
    spec:
      containers: [{name: main, env: [{name: J, valueFrom: {secretKeyRef: {name: nap-cp-secret, key: JWT_SECRET}}}]}]
`, name)
}

// history is a record of Helm's of a superseded revision, with these values, manifest, manifest of a hook, and default values.
func history(t *testing.T, kind string, revision int, values any, manifest, hookManifest string, defaults any) string {
	t.Helper()
	resource := helmrecord.Kinds()[slices.Index([]string{"Secret", "ConfigMap"}, kind)]
	packed, err := helmrecord.Encode(map[string]any{
		"config": values, "manifest": manifest, "hooks": []any{map[string]any{"manifest": hookManifest}},
		"chart": map[string]any{"values": defaults, "templates": []any{map[string]any{"name": "x", "data": "eA=="}}},
	}, resource)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: %s
metadata:
  name: sh.helm.release.v1.neutree.v%d
  namespace: nap
  labels: {owner: helm, name: neutree, version: "%[2]d", status: superseded}
data: {release: %[3]q}
`, kind, revision, packed)
}

// sink keeps the results.
type sink struct{ results map[string]preflight.Result }

func (s *sink) Plan([]preflight.Check)        {}
func (s *sink) Running([]string)              {}
func (s *sink) Result(r preflight.Result)     { s.results[r.ID] = r }
func (s *sink) End(summary preflight.Summary) {}

// check runs all checks, and returns their results by ID and the exit code.
func check(t *testing.T, server *kubetest.Server) (map[string]preflight.Result, int) {
	t.Helper()
	before := len(server.Changes())
	checker, err := secretcheck.New(t.Context(), slog.New(slog.DiscardHandler), server.Client(), "nap", plan)
	if err != nil {
		t.Fatal(err)
	}
	found := &sink{results: map[string]preflight.Result{}}
	summary := preflight.Run(t.Context(), &preflight.Subject{Hide: checker.Hide()}, checker.Checks(), found)
	if made := server.Changes()[before:]; len(made) > 0 {
		t.Errorf("a check writes: %v", made)
	}
	for _, value := range []string{jwt, service, key, "s3cret!"} {
		if strings.Contains(fmt.Sprint(found.results), value) {
			t.Errorf("a value is shown: %v", found.results)
		}
	}
	return found.results, summary.ExitCode(false)
}

func TestNothingIsFound(t *testing.T) {
	server := stage(t)
	// A user's name is an ordinary word, and so is a short value.
	server.Put(history(t, "Secret", 1, map[string]any{"a": "the administrator", "b": "s3cret!"}, "", "", nil))
	results, code := check(t, server)
	if code != 0 || len(results) != 4 {
		t.Errorf("exit code %d: %+v", code, results)
	}
}

func TestFindings(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte(jwt))
	for name, tc := range map[string]struct {
		prepare func(*testing.T, *kubetest.Server)
		id      finding.ID
		want    []string
	}{
		"short": {func(_ *testing.T, s *kubetest.Server) {
			s.Put(keys(map[string]string{"JWT_SECRET": "hunter2", "PLATFORM_SERVICE_KEY": service,
				"CREDENTIAL_ENCRYPTION_KEY": key}))
		}, finding.SecretsUsable, []string{"the key JWT_SECRET of the Secret nap/nap-cp-secret is too short",
			"secrets.given"}},
		"a placeholder": {func(_ *testing.T, s *kubetest.Server) { s.Put(admin("me", "change-me-now")) },
			finding.SecretsUsable, []string{"the key password of the Secret nap/my-admin, named by " +
				"global.admin.existingSecret, is still the placeholder"}},
		"a given Secret that is missing": {func(_ *testing.T, s *kubetest.Server) { s.Delete(secrets + "my-admin") },
			finding.SecretsUsable, []string{"the Secret nap/my-admin, named by global.admin.existingSecret, does not exist"}},
		"a key that is missing": {func(_ *testing.T, s *kubetest.Server) {
			s.Put(keys(map[string]string{"JWT_SECRET": jwt, "PLATFORM_SERVICE_KEY": service}))
		}, finding.SecretsUsable, []string{"the key CREDENTIAL_ENCRYPTION_KEY of Secret nap/nap-cp-secret is missing",
			"restore it from a copy", "secrets.usable"}},
		"an address that is missing": {func(_ *testing.T, s *kubetest.Server) { s.Delete(secrets + "nap-database") },
			finding.SecretsUsable, []string{"the key url of Secret nap/nap-database is missing",
				"run helm upgrade with the same values"}},
		"shared": {func(_ *testing.T, s *kubetest.Server) {
			s.Put(keys(map[string]string{"JWT_SECRET": key, "PLATFORM_SERVICE_KEY": service, "CREDENTIAL_ENCRYPTION_KEY": key}))
		}, finding.SecretsShared, []string{
			"2 keys in namespace nap have one value: nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY, nap-cp-secret/JWT_SECRET",
			"run helm neutree secrets rotate jwt --namespace nap"}},
		"shared by two that can be rotated": {func(_ *testing.T, s *kubetest.Server) {
			s.Put(keys(map[string]string{"JWT_SECRET": jwt, "PLATFORM_SERVICE_KEY": jwt, "CREDENTIAL_ENCRYPTION_KEY": key}))
		}, finding.SecretsShared, []string{"Fix:run helm neutree secrets rotate service-key --namespace nap "}},
		"in the values": {func(t *testing.T, s *kubetest.Server) {
			s.Put(history(t, "Secret", 1, map[string]any{"env": []any{map[string]any{"value": "x" + jwt}}}, "", "", nil))
			s.Put(history(t, "Secret", 2, nil, "data: "+encoded, "", nil))
			s.Put(history(t, "Secret", 3, nil, "", "", nil))
		}, finding.SecretsLeaked, []string{"the key JWT_SECRET of Secret nap/nap-cp-secret can be read in Helm's history: " +
			"in the manifest and the values of revision 1, 2", "then replace it with helm neutree secrets rotate jwt --namespace nap",
			"kubectl delete secrets sh.helm.release.v1.neutree.v1 sh.helm.release.v1.neutree.v2 --namespace nap",
			"--history-max"}},
		"in a hook and the defaults of the newest": {func(t *testing.T, s *kubetest.Server) {
			s.Put(history(t, "Secret", 7, nil, "", "x: "+key, map[string]any{key: 1}))
		}, finding.SecretsLeaked, []string{"the key CREDENTIAL_ENCRYPTION_KEY of Secret nap/nap-cp-secret",
			"in the default values of the chart and the manifest of revision 7", "revision 7 is still needed: upgrade first"}},
		"in the one that is deployed, before one that failed": {func(t *testing.T, s *kubetest.Server) {
			s.Put(history(t, "Secret", 1, map[string]any{"a": jwt}, "", "", nil))
			s.Put(strings.Replace(history(t, "Secret", 2, map[string]any{"a": jwt}, "", "", nil), "superseded", "deployed", 1))
			s.Put(strings.Replace(history(t, "Secret", 3, nil, "", "", nil), "superseded", "failed", 1))
		}, finding.SecretsLeaked, []string{"revision 2 is still needed: upgrade first",
			"kubectl delete secrets sh.helm.release.v1.neutree.v1 --namespace nap"}},
		"in a ConfigMap": {func(t *testing.T, s *kubetest.Server) {
			s.Put(history(t, "ConfigMap", 1, map[string]any{"a": jwt}, "", "", nil))
			s.Put(history(t, "ConfigMap", 2, nil, "", "", nil))
		}, finding.SecretsLeaked, []string{"kubectl delete configmaps sh.helm.release.v1.neutree.v1 --namespace nap"}},
		"changed and not restarted": {func(_ *testing.T, s *kubetest.Server) {
			s.Put(keys(map[string]string{"JWT_SECRET": strings.Repeat("9", 64), "PLATFORM_SERVICE_KEY": service,
				"CREDENTIAL_ENCRYPTION_KEY": key}))
		}, finding.SecretsNotRestarted, []string{"the key JWT_SECRET of Secret nap/nap-cp-secret has changed",
			"Deployment nap-cp, nap-cg",
			"run helm neutree secrets rotate jwt --namespace nap, which restarts them and makes no other value"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := stage(t)
			tc.prepare(t, server)
			results, code := check(t, server)
			if code != 2 {
				t.Errorf("exit code %d", code)
			}
			got := fmt.Sprintf("%+v", results[string(tc.id)].Findings)
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s does not say %q: %s", tc.id, want, got)
				}
			}
		})
	}
}

// What was found in other records is said all the same.
func TestARecordThatCanNotBeRead(t *testing.T) {
	server := stage(t)
	server.Put(history(t, "Secret", 1, map[string]any{"a": jwt}, "", "", nil))
	server.Put("apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.neutree.v2, namespace: nap, labels: " +
		"{owner: helm, name: neutree, version: \"2\"}}\ndata: {release: \"%\"}\n")
	results, code := check(t, server)
	result := results[string(finding.SecretsLeaked)]
	if code != 1 || len(result.Findings) != 1 || !strings.Contains(result.Reason, "read the record of revision 2") {
		t.Errorf("exit code %d: %+v", code, result)
	}
}

func TestNoRightToRead(t *testing.T) {
	server := stage(t)
	server.Refuse(-1, "GET", secrets+"nap-cp-secret", kubetest.Status(403, metav1.StatusReasonForbidden,
		`secrets "nap-cp-secret" is forbidden: User "ops" cannot get resource "secrets" in API group "" in the `+
			`namespace "nap"`))
	_, err := secretcheck.New(context.Background(), slog.New(slog.DiscardHandler), server.Client(), "nap", plan)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "ops may not get secrets in namespace nap") {
		t.Error(err)
	}
}
