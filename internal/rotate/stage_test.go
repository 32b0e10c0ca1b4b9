package rotate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/progress"
	"github.com/neutree-ai/packaging/internal/restart"
	"github.com/neutree-ai/packaging/internal/rotate"
	"github.com/neutree-ai/packaging/internal/secret"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

const (
	secrets     = "/api/v1/namespaces/nap/secrets/"
	deployments = "/apis/apps/v1/namespaces/nap/deployments/"
)

// readers are the services, and what each reads.
var readers = map[string][]string{
	"nap-cp": {"nap-cp-secret/JWT_SECRET", "nap-cp-secret/PLATFORM_SERVICE_KEY", "nap-database/url",
		"nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY"},
	"nap-cg":        {"nap-cp-secret/JWT_SECRET", "nap-database/url"},
	"nap-scheduler": {"nap-cp-secret/PLATFORM_SERVICE_KEY", "nap-database/url"},
	"nap-skills":    {"nap-database/url"},
	"nap-sandbox":   {"nap-sandbox-secret/JWT_SECRET", "nap-sandbox-secret/SERVICE_KEY"},
	"nap-browser": {"nap-browser-secret/JWT_SECRET", "nap-browser-secret/TURN_AUTH_SECRET",
		"nap-sandbox-secret/SERVICE_KEY"},
	"coturn": {"nap-coturn/"},
}

// stage is a release with all modules, installed by the hooks.
type stage struct {
	*testing.T
	server *kubetest.Server
	plan   secretplan.Plan
	said   bytes.Buffer
	jobs   jobs
}

// jobs runs the Job of a rotation.
type jobs func(context.Context, *batchv1.Job) (string, error)

func (j jobs) Run(ctx context.Context, job *batchv1.Job) (string, error) {
	if j == nil {
		return "done", nil
	}
	return j(ctx, job)
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, server: kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}",
		record("deployed"))}
	random := hook.SecretKey{Generate: &hook.GenerateSpec{Bytes: 32}}
	s.plan = secretplan.Plan{Release: "neutree", Chart: "neutree 0.2.0", Record: "nap-database",
		RestoreNote: "nap-restore", Rotations: map[string]secretplan.Rotation{
			"jwt":         {Secret: "nap-cp-secret", Keys: []string{"JWT_SECRET"}},
			"service-key": {Secret: "nap-cp-secret", Keys: []string{"PLATFORM_SERVICE_KEY"}},
			"sandbox":     {Secret: "nap-sandbox-secret", Keys: []string{"JWT_SECRET", "SERVICE_KEY"}},
			"browser":     {Secret: "nap-browser-secret", Keys: []string{"JWT_SECRET"}},
			"turn":        {Secret: "nap-browser-secret", Keys: []string{"TURN_AUTH_SECRET"}},

			"credential-key": {Secret: "nap-cp-secret", Keys: []string{"CREDENTIAL_ENCRYPTION_KEY"}},
			"database":       {Secret: "nap-pg-user", Keys: []string{"password"}},
			"admin":          {Secret: "nap-admin", Keys: []string{"password"}},
		}, Keyring: "nap-keyring", Job: &batchv1.Job{}}
	s.plan.Job.Kind, s.plan.Job.Name = "Job", "nap-rotate"
	s.plan.Job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "rotate", Args: []string{"rotate"}}}
	s.plan.Secrets = hook.SecretsSpec{Namespace: "nap", Secrets: []hook.Secret{
		{Name: "nap-cp-secret", Data: map[string]hook.SecretKey{"JWT_SECRET": random, "PLATFORM_SERVICE_KEY": random,
			"CREDENTIAL_ENCRYPTION_KEY": random}},
		{Name: "nap-sandbox-secret", Data: map[string]hook.SecretKey{"JWT_SECRET": random, "SERVICE_KEY": random}},
		{Name: "nap-browser-secret", Data: map[string]hook.SecretKey{"JWT_SECRET": random, "TURN_AUTH_SECRET": random}},
		{Name: "nap-coturn", Data: map[string]hook.SecretKey{"turnserver.conf": {File: &hook.SecretFile{
			Text:   "static-auth-secret=$(S)",
			Values: map[string]hook.SecretRef{"S": {Secret: "nap-browser-secret", Key: "TURN_AUTH_SECRET"}}}}}},
		{Name: "nap-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{Host: "nap-pg-rw",
			Port: 5432, Database: "nap", UserFrom: hook.SecretRef{Secret: "nap-pg-user", Key: "username"},
			PasswordFrom: hook.SecretRef{Secret: "nap-pg-user", Key: "password"}}}}},
		{Name: "nap-admin", Data: map[string]hook.SecretKey{"username": {Value: "admin"}, "password": random}},
		{Name: "nap-pg-user", Data: map[string]hook.SecretKey{"username": {Value: "nap"}, "password": random}},
	}}
	for name, reads := range readers {
		s.plan.Restart = append(s.plan.Restart, name)
		s.server.Put(deployment(name, reads))
	}
	slices.Sort(s.plan.Restart)
	if err := s.plan.Validate(); err != nil {
		t.Fatal(err)
	}
	s.install()
	return s
}

// install does what the hook before an upgrade does with Secrets.
func (s *stage) install() {
	s.Helper()
	log, api := slog.New(slog.DiscardHandler), s.server.Client().Resource(kube.Secrets, "nap")
	if _, err := secret.Ensure(s.Context(), log, api, s.plan.Secrets); err != nil {
		s.Fatal(err)
	}
	changes, err := secret.Compare(s.Context(), log, api, s.plan.Secrets, s.plan.Record)
	if err == nil {
		err = changes.Remember(s.Context())
	}
	if err != nil {
		s.Fatal(err)
	}
}

func record(status string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: sh.helm.release.v1.neutree.v1
  namespace: nap
  labels: {owner: helm, name: neutree, version: "1", status: %s}
`, status)
}

// deployment is one whose pods are ready.
func deployment(name string, reads []string) string {
	var env, volumes []string
	for i, ref := range reads {
		from, key, _ := strings.Cut(ref, "/")
		if key == "" {
			volumes = append(volumes, fmt.Sprintf("{name: v%d, secret: {secretName: %s}}", i, from))
			continue
		}
		env = append(env, fmt.Sprintf("{name: E%d, valueFrom: {secretKeyRef: {name: %s, key: %s}}}", i, from, key))
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: nap}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template: {metadata: {labels: {app: %[1]s}}, spec: {containers: [{name: main, env: [%[2]s]}], volumes: [%[3]s]}}
status: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}
`, name, strings.Join(env, ", "), strings.Join(volumes, ", "))
}

// set changes a field of a stored object.
func (s *stage) set(path string, value any, field ...string) {
	s.Helper()
	live := s.server.Object(path)
	if err := unstructured.SetNestedField(live.Object, value, field...); err != nil {
		s.Fatal(err)
	}
	raw, err := yaml.Marshal(live.Object)
	if err != nil {
		s.Fatal(err)
	}
	s.server.Put(string(raw))
}

func (s *stage) setKey(name, key, value string) {
	s.Helper()
	s.set(secrets+name, base64.StdEncoding.EncodeToString([]byte(value)), "data", key)
}

func (s *stage) dropKey(name, key string) {
	s.Helper()
	live := s.server.Object(secrets + name)
	unstructured.RemoveNestedField(live.Object, "data", key)
	raw, err := yaml.Marshal(live.Object)
	if err != nil {
		s.Fatal(err)
	}
	s.server.Put(string(raw))
}

func (s *stage) rotation(name string) *rotate.Rotation {
	return &rotate.Rotation{Log: progress.New(&s.said), Client: s.server.Client(), Namespace: "nap", Plan: s.plan,
		Name: name, Jobs: s.jobs, Patience: 300 * time.Millisecond}
}

func (s *stage) mustRun(name, want string) {
	s.Helper()
	said, err := s.rotation(name).Run(s.Context())
	// For how long something did not work differs.
	if said, _, _ = strings.Cut(said, "; for "); err != nil || said != want {
		s.Fatalf("rotate %s: %q, %v; want %q", name, said, err, want)
	}
}

// values are all keys of all Secrets.
func (s *stage) values() map[string]string {
	s.Helper()
	found := map[string]string{}
	for _, one := range s.plan.Secrets.Secrets {
		data, _, _ := unstructured.NestedStringMap(s.server.Object(secrets+one.Name).Object, "data")
		for key, value := range data {
			found[one.Name+"/"+key] = value
		}
	}
	return found
}

// versions are what the pods of the services say about their Secrets.
func (s *stage) versions() map[string]string {
	s.Helper()
	found := map[string]string{}
	for name := range readers {
		found[name], _, _ = unstructured.NestedString(s.server.Object(deployments+name).Object, "spec", "template",
			"metadata", "annotations", restart.Annotation)
	}
	return found
}

// different are the keys under which the maps differ, in order.
func different(a, b map[string]string) []string {
	var keys []string
	for key := range a {
		if a[key] != b[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
