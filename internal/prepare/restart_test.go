package prepare

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/restart"
)

// users are services that each read other Secrets, in each of the ways there are.
const users = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {template: {spec: {initContainers: [{name: wait, args: [wait, --set=set-1], env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: nap-database, key: url}}}]}],
  containers: [{name: control-plane, image: "registry.test/cp:v1", env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: nap-database, key: url}}}, {name: JWT_SECRET, valueFrom: {secretKeyRef: {name: keys, key: JWT_SECRET}}}]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-skills, namespace: nap}
spec: {template: {spec: {containers: [{name: skills, image: "registry.test/skills:v1", env: [{name: PLATFORM_SERVICE_KEY, valueFrom: {secretKeyRef: {name: keys, key: PLATFORM_SERVICE_KEY}}}]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coturn, namespace: nap}
spec: {template: {spec: {containers: [{name: coturn, image: "registry.test/coturn:v1"}], volumes: [{name: config, secret: {secretName: coturn}}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-office, namespace: nap}
spec: {template: {spec: {initContainers: [{name: wait, env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: nap-database, key: url}}}]}], containers: [{name: office, image: "registry.test/office:v1"}]}}}
`

func usersStage(t *testing.T, url string) *stage {
	t.Helper()
	s := newStage(t, "", append(strings.Split(users, "---\n"), running)...)
	s.url = url
	generate := func(bytes int) hook.SecretKey { return hook.SecretKey{Generate: &hook.GenerateSpec{Bytes: bytes}} }
	s.spec.Secrets.Secrets = []hook.Secret{
		{Name: "keys", Data: map[string]hook.SecretKey{"JWT_SECRET": generate(32), "PLATFORM_SERVICE_KEY": generate(32),
			"TURN": generate(32)}},
		{Name: "role", Existing: true, Data: map[string]hook.SecretKey{"url": {Required: true}}},
		{Name: "coturn", Data: map[string]hook.SecretKey{"turnserver.conf": {File: &hook.SecretFile{
			Text: "static-auth-secret=$(TURN)", Values: map[string]hook.SecretRef{"TURN": {Secret: "keys", Key: "TURN"}}}}}},
		{Name: "nap-database",
			Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{URLFrom: &hook.SecretRef{Secret: "role",
				Key: "url"}}}}},
	}
	s.server.Put(secretYAML("role", "url", url))
	s.spec.Restart = []string{"nap-cp", "nap-skills", "nap-absent", "coturn", "nap-office"}
	return s
}

// addressed names a host in the URL of a test's database, as a Secret must. The socket in the URL wins.
func addressed(url string) string { return strings.Replace(url, "@/", "@localhost/", 1) }

func yamlOf(t *testing.T, object any) string {
	t.Helper()
	raw, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (s *stage) restarts() map[string]string {
	s.Helper()
	found := map[string]string{}
	for _, name := range []string{"nap-cp", "nap-skills", "coturn", "nap-office"} {
		live := s.server.Object("/apis/apps/v1/namespaces/nap/deployments/" + name)
		template := live.Object["spec"].(map[string]any)["template"].(map[string]any)
		metadata, _ := template["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		if version, ok := annotations[restart.Annotation]; ok {
			found[name] = fmt.Sprint(version)
		}
	}
	return found
}

// Services read their Secrets when they start. A value that changes restarts those that read it, and no others.
func TestAChangedSecretRestartsItsUsers(t *testing.T) {
	url := addressed(pgtest.Start(t))
	const long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, tc := range map[string]struct {
		key, value string
		users      []string
		from       string
	}{
		"a key of two services' Secret": {"PLATFORM_SERVICE_KEY", long, []string{"nap-skills"}, "keys"},
		"one that a file follows from":  {"TURN", long, []string{"coturn"}, "keys"},
		"one that a URL follows from":   {"url", url + "&application_name=changed", []string{"nap-cp"}, "role"},
	} {
		t.Run(name, func(t *testing.T) {
			s := usersStage(t, url)
			s.wantDone()
			s.wantDone()
			if got := s.restarts(); len(got) > 0 {
				t.Fatalf("nothing has changed, and it restarted %v", got)
			}
			path := "/api/v1/namespaces/nap/secrets/" + tc.from
			live := s.server.Object(path)
			live.Object["data"].(map[string]any)[tc.key] = base64Of(tc.value)
			s.server.Put(yamlOf(t, live.Object))
			s.wantDone("restarted after a change of their Secrets: " + strings.Join(tc.users, ", "))
			after := s.restarts()
			var got []string
			for _, name := range s.spec.Restart {
				if after[name] != "" {
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(tc.users, got); diff != "" {
				t.Errorf("it restarted other services:\n%s", diff)
			}
			s.wantDone()
			if diff := cmp.Diff(after, s.restarts()); diff != "" {
				t.Errorf("the next upgrade restarted them again:\n%s", diff)
			}
			if text := fmt.Sprint(after,
				s.server.Object("/api/v1/namespaces/nap/secrets/nap-database").GetAnnotations()); strings.Contains(text, tc.value) {
				t.Errorf("an annotation shows the value: %s", text)
			}
		})
	}
}

// A password that does not fit says so, and a silent database says something else.
func TestARefusedLogin(t *testing.T) {
	right := pgtest.WithPassword(t, pgtest.Start(t), "rotated", "the-right-one")
	wrong := strings.Replace(right, "the-right-one", "hunter2", 1)
	s := newStage(t, wrong, append(strings.Split(strings.Replace(users, "--set=set-1", "--set=set-0", 1), "---\n"),
		running)...)
	s.answerTime = 4 * time.Second
	s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane",
		Image: "registry.test/cp:v1"}}
	s.wantRefused(`the database answers, and refuses the login of role "rotated"`, "28P01", "[database.login]")
	if _, err := s.prepare(); strings.Contains(err.Error(), "does not answer") || strings.Contains(err.Error(),
		"hunter2") {
		t.Error(err)
	}
}

// A new password of the role's is in the Secret that the operator reads, and not yet in the address. An upgrade asks the
// database by the new one, and so finds it.
func TestAnUpgradeAfterAChangeOfThePassword(t *testing.T) {
	right := addressed(pgtest.WithPassword(t, pgtest.Start(t), "changed", "the-right-one"))
	s := newStage(t, strings.Replace(right, "the-right-one", "the-old-one", 1), running)
	s.url = right
	s.answerTime = 10 * time.Second
	s.server.Put(secretYAML("role", "url", right))
	s.spec.Secrets.Secrets = []hook.Secret{
		{Name: "role", Existing: true, Data: map[string]hook.SecretKey{"url": {Required: true}}},
		{Name: "nap-database",
			Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{URLFrom: &hook.SecretRef{Secret: "role",
				Key: "url"}}}}},
	}
	s.wantDone("1 completed", "1 migrations applied")
}
