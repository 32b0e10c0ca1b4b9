package secretexport_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/secretexport"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

const objects = `apiVersion: v1
kind: Namespace
metadata: {name: nap}
---
apiVersion: v1
kind: Secret
metadata:
  name: nap-cp-secret
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree}
  annotations: {helm.sh/resource-policy: keep, kubectl.kubernetes.io/last-applied-configuration: "{hunter2}"}
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: "1"}]
type: Opaque
data: {JWT_SECRET: aHVudGVyMg==}
---
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: nap}
type: kubernetes.io/basic-auth
immutable: true
data: {username: bmFw, password: aHVudGVyMw==}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: nap}
data: {key: aHVudGVyNA==}`

func plan(names ...string) secretplan.Plan {
	p := secretplan.Plan{Keyring: "nap-keyring"}
	for _, name := range names {
		p.Secrets.Secrets = append(p.Secrets.Secrets, hook.Secret{Name: name})
	}
	return p
}

func TestExport(t *testing.T) {
	server := kubetest.New(t, objects)
	grace, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	alan, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := secretexport.Recipients([]string{grace.Recipient().String(), " " + alan.Recipient().String() + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	done, err := secretexport.Write(t.Context(), server.Client(), "nap", plan("nap-cp-secret", "gone", "mine"), recipients, &file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(done.Secrets, " ") != "nap-cp-secret mine" || strings.Join(done.Missing, " ") != "gone" {
		t.Errorf("%+v", done)
	}
	for _, plain := range []string{"hunter", "aHVudGVy", "nap-cp-secret"} {
		if strings.Contains(file.String(), plain) {
			t.Errorf("the file shows %s", plain)
		}
	}
	for _, person := range []age.Identity{grace, alan} {
		opened, err := age.Decrypt(bytes.NewReader(file.Bytes()), person)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(opened)
		if err != nil {
			t.Fatal(err)
		}
		for _, noise := range []string{"resourceVersion", "uid", "ownerReferences", "last-applied", "managedFields"} {
			if strings.Contains(string(text), noise) {
				t.Errorf("it contains %s:\n%s", noise, text)
			}
		}
		// What kubectl apply does with it, in another cluster.
		var list struct {
			Kind  string
			Items []map[string]any
		}
		if err := yaml.Unmarshal(text, &list); err != nil || list.Kind != "List" || len(list.Items) != 2 {
			t.Fatalf("%v\n%s", err, text)
		}
		again := kubetest.New(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}")
		for _, item := range list.Items {
			raw, err := yaml.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			again.Put(string(raw))
		}
		var secret corev1.Secret
		raw, _ := yaml.Marshal(again.Object("/api/v1/namespaces/nap/secrets/mine").Object)
		if err := yaml.Unmarshal(raw, &secret); err != nil || string(secret.Data["password"]) != "hunter3" ||
			secret.Type != corev1.SecretTypeBasicAuth || !*secret.Immutable {
			t.Errorf("%v: %+v", err, secret)
		}
		raw, _ = yaml.Marshal(again.Object("/api/v1/namespaces/nap/secrets/nap-cp-secret").Object)
		if !strings.Contains(string(raw), "helm.sh/resource-policy: keep") || !strings.Contains(string(raw), "part-of: neutree") {
			t.Errorf("labels or annotations are lost:\n%s", raw)
		}
	}
	// A rotation that has not ended has keys of its own.
	server.Put("apiVersion: v1\nkind: Secret\nmetadata: {name: nap-keyring, namespace: nap}\ndata: {new: aHVudGVyNA==}")
	done, err = secretexport.Write(t.Context(), server.Client(), "nap", plan("mine"), recipients, io.Discard)
	if err != nil || strings.Join(done.Secrets, " ") != "mine nap-keyring" {
		t.Errorf("%+v, %v", done, err)
	}
	_, err = secretexport.Write(t.Context(), server.Client(), "nap", secretplan.Plan{}, recipients, io.Discard)
	if hook.CodeOf(err) != hook.Refused {
		t.Error(err)
	}
}

func TestRecipientsThatAreNone(t *testing.T) {
	person, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"": "is no age public key", "age1short": `"age1short" is no age public key`, "ssh-ed25519 AAAA": "is no age public key",
		person.String(): "got the secret half of a key", strings.ToLower(person.String()): "got the secret half of a key",
	} {
		_, err := secretexport.Recipients([]string{text})
		if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		if strings.Contains(strings.ToUpper(err.Error()), person.String()) {
			t.Errorf("the identity is shown: %v", err)
		}
	}
	if _, err := secretexport.Recipients(nil); hook.CodeOf(err) != hook.Usage {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.age")
	save := func(text string, replace bool) error {
		if err := secretexport.CheckFile(path, replace); err != nil {
			return err
		}
		return secretexport.SaveFile(path, []byte(text), replace)
	}
	want := func(text string) {
		t.Helper()
		raw, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(raw) != text || info.Mode() != 0o600 {
			t.Errorf("%q, mode %v, %v", raw, info.Mode(), err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if err := save("one", false); err != nil {
		t.Fatal(err)
	}
	want("one")
	err := save("two", false)
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "exists: name another file, or replace it with --force [secrets.file]") {
		t.Error(err)
	}
	if err := secretexport.SaveFile(path, []byte("two"), false); hook.CodeOf(err) != hook.Refused {
		t.Errorf("one that was written meanwhile: %v", err)
	}
	want("one")
	if err := save("two", true); err != nil {
		t.Fatal(err)
	}
	want("two")
	path = filepath.Dir(path)
	if err := save("x", true); hook.CodeOf(err) != hook.Usage {
		t.Error(err)
	}
	path = filepath.Join(path, "no-such-folder", "x")
	if err := save("x", false); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
