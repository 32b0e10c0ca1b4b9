package secrets

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const long = "0123456789abcdef0123456789abcdef"

func stored(name string, data map[string]string) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: nap}\ndata: {", name)
	for key, value := range data {
		text += fmt.Sprintf("%s: %s, ", key, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	return text + "}"
}

func TestGiven(t *testing.T) {
	set := &requirement.Set{Namespace: "nap", Secrets: []requirement.Secret{
		{Namespace: "nap", Secret: hook.Secret{Name: "mine", Existing: true, Value: "global.secrets.existingSecret", Data: map[string]hook.SecretKey{"JWT_SECRET": {Required: true, MinLength: 32}}}},
		{Namespace: "nap", Secret: hook.Secret{Name: "made", Data: map[string]hook.SecretKey{"password": {Generate: &hook.GenerateSpec{Bytes: 32}}}}},
		{Namespace: "nap", Secret: hook.Secret{Name: "address",
			Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{}}}}},
	}}
	for _, tc := range []struct {
		name    string
		objects []string
		words   []string
	}{
		{name: "good", objects: []string{stored("mine", map[string]string{"JWT_SECRET": long})}},
		{name: "missing", words: []string{"the Secret nap/mine, named by global.secrets.existingSecret, does not exist -> make it with kubectl create secret generic mine"}},
		{name: "a key is missing", objects: []string{stored("mine", map[string]string{"other": "x"})}, words: []string{"lacks the key JWT_SECRET"}},
		{name: "too short", objects: []string{stored("mine", map[string]string{"JWT_SECRET": "hunter2"})}, words: []string{"is too short (it needs at least 32 characters)"}},
		{name: "a placeholder", objects: []string{stored("mine", map[string]string{"JWT_SECRET": "change-me-" + long})}, words: []string{"is still the placeholder of an example"}},
		{name: "a line break at the end", objects: []string{stored("mine", map[string]string{"JWT_SECRET": long + "\n"})},
			words: []string{"error: the key JWT_SECRET of the Secret nap/mine, named by global.secrets.existingSecret, ends " +
				"with a line break"}},
		{name: "a line break that has worked", objects: []string{stored("mine", map[string]string{"JWT_SECRET": long +
			"\n"}), stored("address", map[string]string{"url": "postgresql://a:b@c/d"})}, words: []string{"warning: the key " +
			"JWT_SECRET of the Secret nap/mine, named by global.secrets.existingSecret, ends with a line break"}},
		{name: "a made one was emptied", objects: []string{stored("mine", map[string]string{"JWT_SECRET": long}), stored("made", map[string]string{"password": ""})}, words: []string{"the key password of the Secret nap/made is empty"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			findings := checktest.Run(t, Checks(), "secrets.given", checktest.Subject(t, kubetest.New(t, tc.objects...), set))
			checktest.Want(t, findings, tc.words...)
			if strings.Contains(fmt.Sprint(findings), "hunter2") {
				t.Errorf("a finding tells the value: %v", findings)
			}
		})
	}
}

func deployment(name string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {template: {spec: {containers: [{name: control-plane, env: [{name: CREDENTIAL_ENCRYPTION_KEY, valueFrom: {secretKeyRef: {name: ` + name + `, key: CREDENTIAL_ENCRYPTION_KEY}}}]}]}}}`
}

func TestUnchanged(t *testing.T) {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(deployment("new")), &u.Object); err != nil {
		t.Fatal(err)
	}
	set := &requirement.Set{Namespace: "nap", Prefix: "nap", Objects: []requirement.Object{{Unstructured: u, By: requirement.Helm}}}
	key := func(value string) map[string]string { return map[string]string{"CREDENTIAL_ENCRYPTION_KEY": value} }
	for _, tc := range []struct {
		name    string
		objects []string
		words   []string
	}{
		{name: "nothing runs"},
		{name: "the same Secret", objects: []string{deployment("new"), stored("new", key("x"))}},
		{name: "the same value elsewhere", objects: []string{deployment("old"), stored("old", key("x")), stored("new", key("x"))}},
		{name: "another value", objects: []string{deployment("old"), stored("old", key("x")), stored("new", key("y"))}, words: []string{"error: CREDENTIAL_ENCRYPTION_KEY comes from key CREDENTIAL_ENCRYPTION_KEY of Secret old now and would come from key CREDENTIAL_ENCRYPTION_KEY of Secret new, which holds another value or none"}},
		{name: "no value yet", objects: []string{deployment("old"), stored("old", key("x"))}, words: []string{"error: CREDENTIAL_ENCRYPTION_KEY"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checktest.Want(t, checktest.Run(t, Checks(), "secrets.unchanged", checktest.Subject(t, kubetest.New(t, tc.objects...), set)), tc.words...)
		})
	}
}
