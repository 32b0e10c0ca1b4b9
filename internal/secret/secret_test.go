package secret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/secret"
)

const namespace = "nap"

// cluster is a fake API that holds Secrets.
type cluster struct {
	t      *testing.T
	client *fake.FakeDynamicClient
	log    bytes.Buffer
}

func newCluster(t *testing.T, secrets ...*corev1.Secret) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, client: fake.NewSimpleDynamicClient(scheme)}
	for _, s := range secrets {
		c.put(s)
	}
	return c
}

func (c *cluster) put(s *corev1.Secret) {
	c.t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		c.t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.client.Tracker().Create(kube.Secrets, u, namespace); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) ensure(secrets ...hook.Secret) (secret.Result, error) {
	log := slog.New(slog.NewJSONHandler(&c.log, nil))
	return secret.Ensure(context.Background(), log, c.client.Resource(kube.Secrets).Namespace(namespace),
		hook.SecretsSpec{Namespace: namespace, Secrets: secrets})
}

func (c *cluster) get(name string) *unstructured.Unstructured {
	c.t.Helper()
	u, err := c.client.Resource(kube.Secrets).Namespace(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

func (c *cluster) value(name, key string) string {
	c.t.Helper()
	encoded, _, err := unstructured.NestedString(c.get(name).Object, "data", key)
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// writes counts what the fake was asked to change.
func (c *cluster) writes() int {
	n := 0
	for _, a := range c.client.Actions() {
		if a.GetVerb() != "get" {
			n++
		}
	}
	return n
}

func given(name string, kind corev1.SecretType, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Type: kind, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func generate(bytes int) hook.SecretKey {
	return hook.SecretKey{Generate: &hook.GenerateSpec{Bytes: bytes}}
}

// release is what the chart asks for.
func release() []hook.Secret {
	from := func(key string) hook.SecretRef { return hook.SecretRef{Secret: "nap-pg-user", Key: key} }
	return []hook.Secret{
		{Name: "nap-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{
			Host: "nap-pg-rw", Port: 5432, Database: "nap", UserFrom: from("username"), PasswordFrom: from("password")}}}},
		{Name: "nap-pg-user", Type: "kubernetes.io/basic-auth", Labels: map[string]string{"cnpg.io/reload": "true"},
			Data: map[string]hook.SecretKey{"username": {Value: "nap"}, "password": generate(32)}},
		{Name: "nap-cp-secret", Data: map[string]hook.SecretKey{"JWT_SECRET": generate(32), "CREDENTIAL_ENCRYPTION_KEY": generate(32)}},
		{Name: "nap-admin", Data: map[string]hook.SecretKey{"username": {Value: "admin"}, "password": generate(12)}},
	}
}

func TestMakesWhatIsMissingOnce(t *testing.T) {
	c := newCluster(t)
	result, err := c.ensure(release()...)
	if err != nil {
		t.Fatal(err)
	}
	if result.Created != 4 {
		t.Errorf("%s", result)
	}
	password := c.value("nap-pg-user", "password")
	if raw, err := hex.DecodeString(password); err != nil || len(raw) != 32 {
		t.Errorf("the password is not 32 bytes in hexadecimal digits: %d characters", len(password))
	}
	if got, want := c.value("nap-database", "url"), "postgresql://nap:"+password+"@nap-pg-rw:5432/nap"; got != want {
		t.Errorf("url %s, want %s", got, want)
	}
	made := c.get("nap-pg-user")
	if kind, _, _ := unstructured.NestedString(made.Object, "type"); kind != "kubernetes.io/basic-auth" {
		t.Errorf("type %s", kind)
	}
	if made.GetLabels()["app.kubernetes.io/managed-by"] != "nap-hooks" || made.GetLabels()["cnpg.io/reload"] != "true" {
		t.Errorf("labels %v", made.GetLabels())
	}
	if made.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
		t.Errorf("annotations %v", made.GetAnnotations())
	}

	before := c.writes()
	result, err = c.ensure(release()...)
	if err != nil {
		t.Fatal(err)
	}
	if result.Kept != 4 || c.writes() != before || c.value("nap-pg-user", "password") != password {
		t.Errorf("a second run changed something: %s", result)
	}
	for _, name := range []string{"nap-pg-user", "nap-cp-secret", "nap-admin"} {
		data, _, _ := unstructured.NestedMap(c.get(name).Object, "data")
		for key := range data {
			if v := c.value(name, key); len(v) > 8 && strings.Contains(c.log.String(), v) {
				t.Errorf("the log shows %s of %s", key, name)
			}
		}
	}
}

// ArgoCD may take what has this label for an Application's and prune it.
func TestMarksWhatHasTheLabelOfTheRelease(t *testing.T) {
	c := newCluster(t, given("nap-admin", corev1.SecretTypeOpaque, map[string]string{"username": "admin", "password": "x"}))
	secrets := release()
	for i := range secrets {
		secrets[i].Labels = map[string]string{"app.kubernetes.io/instance": "neutree"}
	}
	if result, err := c.ensure(secrets...); err != nil || result.Created != 3 || result.Completed != 1 {
		t.Errorf("%s, %v", result, err)
	}
	for _, name := range []string{"nap-cp-secret", "nap-admin"} {
		if missing := kube.NotPruned(c.get(name).GetAnnotations()); len(missing) > 0 {
			t.Errorf("Secret %s lacks %v", name, missing)
		}
	}
	before := c.writes()
	if result, err := c.ensure(secrets...); err != nil || result.Kept != 4 || c.writes() != before {
		t.Errorf("a second run changed something: %s, %v", result, err)
	}
}

func TestCompletesWithoutTouchingWhatIsThere(t *testing.T) {
	old := strings.Repeat("k", 40)
	c := newCluster(t,
		given("nap-cp-secret", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": old, "of the user": "x"}),
		given("nap-pg-user", corev1.SecretTypeBasicAuth, map[string]string{"username": "other", "password": "p@ss/wö:rd#%"}),
		given("nap-database", corev1.SecretTypeOpaque, map[string]string{"url": "postgresql://stale"}))
	result, err := c.ensure(release()...)
	if err != nil {
		t.Fatal(err)
	}
	// nap-cp-secret lacks a key, nap-pg-user a label, and nap-database is derived from what has changed.
	if result.Created != 1 || result.Completed != 3 {
		t.Errorf("%s", result)
	}
	if c.value("nap-cp-secret", "JWT_SECRET") != old || c.value("nap-cp-secret", "of the user") != "x" {
		t.Error("a value that was there has changed")
	}
	if c.value("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY") == "" {
		t.Error("the missing key was not added")
	}
	if c.value("nap-pg-user", "username") != "other" {
		t.Error("the chart's user name went over the one that was there")
	}
	if !strings.Contains(c.log.String(), `"msg":"the Secret keeps its value, though`) {
		t.Errorf("nobody is told that the chart's user name was not taken:\n%s", &c.log)
	}
	u, err := url.Parse(c.value("nap-database", "url"))
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); password != "p@ss/wö:rd#%" || u.User.Username() != "other" || u.Host != "nap-pg-rw:5432" || u.Path != "/nap" {
		t.Errorf("the derived URL does not read back: %s", u.Redacted())
	}
}

// Before an upgrade the address counts that the new revision will use, and not the one that stands there.
func TestDerivedWithoutAWrite(t *testing.T) {
	c := newCluster(t, given("mine", "", map[string]string{"uri": "postgresql://nap:word@new/nap"}),
		given("nap-database", "", map[string]string{"url": "postgresql://nap:word@old/nap"}))
	derive := func(key string) (string, bool) {
		t.Helper()
		source := &hook.PostgresURL{URLFrom: &hook.SecretRef{Secret: "mine", Key: key}}
		value, derived, err := secret.Derive(t.Context(), slog.New(slog.DiscardHandler), c.client.Resource(kube.Secrets).Namespace(namespace),
			hook.SecretsSpec{Namespace: namespace, Secrets: []hook.Secret{{Name: "nap-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: source}}}}},
			hook.SecretRef{Secret: "nap-database", Key: "url"})
		if err != nil {
			t.Fatal(err)
		}
		return value, derived
	}
	if value, derived := derive("uri"); value != "postgresql://nap:word@new/nap" || !derived {
		t.Errorf("derived %v: %s", derived, value)
	}
	if value, derived := derive("lacking"); value != "" || !derived {
		t.Errorf("derived %v from a key that is not there: %s", derived, value)
	}
	if got := c.value("nap-database", "url"); got != "postgresql://nap:word@old/nap" {
		t.Errorf("the Secret was changed to %s", got)
	}
}

func TestURLOfAnotherDatabase(t *testing.T) {
	const rootCert = "/etc/neutree/database-ca/ca.crt"
	address := func(url hook.PostgresURL) hook.PostgresURL {
		url.Host, url.Port, url.Database = "db.example.org", 5432, "nap"
		url.UserFrom, url.PasswordFrom = hook.SecretRef{Secret: "mine", Key: "role"}, hook.SecretRef{Secret: "mine", Key: "word"}
		return url
	}
	whole := func(key, sslmode string) hook.PostgresURL {
		return hook.PostgresURL{URLFrom: &hook.SecretRef{Secret: "mine", Key: key}, SSLMode: sslmode}
	}
	for name, test := range map[string]struct {
		url       hook.PostgresURL
		want, err string
	}{
		"no TLS":             {address(hook.PostgresURL{SSLMode: "disable", RootCert: rootCert}), "postgresql://nap:p%40ss@db.example.org:5432/nap?sslmode=disable", ""},
		"TLS with whoever":   {address(hook.PostgresURL{SSLMode: "require"}), "postgresql://nap:p%40ss@db.example.org:5432/nap?sslmode=no-verify", ""},
		"public authority":   {address(hook.PostgresURL{SSLMode: "verify-full"}), "postgresql://nap:p%40ss@db.example.org:5432/nap?sslmode=verify-full", ""},
		"private authority":  {address(hook.PostgresURL{SSLMode: "verify-full", RootCert: rootCert}), "postgresql://nap:p%40ss@db.example.org:5432/nap?sslmode=verify-full&sslrootcert=%2Fetc%2Fneutree%2Fdatabase-ca%2Fca.crt", ""},
		"another name":       {address(hook.PostgresURL{SSLMode: "verify-ca", RootCert: rootCert}), "postgresql://nap:p%40ss@db.example.org:5432/nap?sslmode=verify-ca&sslrootcert=%2Fetc%2Fneutree%2Fdatabase-ca%2Fca.crt&uselibpqcompat=true", ""},
		"whole":              {whole("uri", "require"), "postgresql://nap:p%2Fss@db:6432/nap?sslmode=no-verify", ""},
		"whole, its TLS":     {whole("plain", "verify-full"), "postgres://nap:x@db/nap?sslmode=disable", ""},
		"whole, another":     {whole("mysql", "require"), "", "the key mysql of the Secret nap/mine is no address of one database"},
		"whole, two hosts":   {whole("two", "require"), "", "is no address of one database: write postgresql://user:password@host:port/database"},
		"whole, no database": {whole("none", "require"), "", "is no address of one database"},
		"promises nothing":   {whole("prefer", "require"), "", `the database's address asks for the sslmode "prefer", which promises nothing: write disable, require, verify-ca or verify-full`},
		"no authority":       {whole("ca", "require"), "", "name a Secret with it in global.database.external.caSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, given("mine", "", map[string]string{
				"role": "nap", "word": "p@ss", "uri": "postgresql://nap:p%2Fss@db:6432/nap\n", "plain": "postgres://nap:x@db/nap?sslmode=disable",
				"mysql": "mysql://nap:s3cret@db/nap", "two": "postgres://nap:s3cret@a:1,b:2/nap", "none": "postgres://nap:s3cret@db",
				"prefer": "postgres://nap:s3cret@db/nap?sslmode=prefer", "ca": "postgres://nap:s3cret@db/nap?sslmode=verify-ca",
			}))
			_, err := c.ensure(hook.Secret{Name: "nap-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: &test.url}}})
			if test.err != "" {
				if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("exit code %d: %v\nwant a refusal that says %s", hook.CodeOf(err), err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.value("nap-database", "url"); got != test.want {
				t.Errorf("url = %s, want %s", got, test.want)
			}
		})
	}
}

func TestFile(t *testing.T) {
	relay := func(text string) hook.Secret {
		return hook.Secret{Name: "nap-coturn", Data: map[string]hook.SecretKey{"turnserver.conf": {File: &hook.SecretFile{
			Text: text, Values: map[string]hook.SecretRef{"SECRET": {Secret: "mine", Key: "turn"}}}}}}
	}
	c := newCluster(t, given("mine", "", map[string]string{"turn": "a$(SECRET)b"}))
	text := "realm=nap\nstatic-auth-secret=$(SECRET)\n"
	for i, test := range []struct{ text, want string }{
		{text, "realm=nap\nstatic-auth-secret=a$(SECRET)b\n"},
		{text, "realm=nap\nstatic-auth-secret=a$(SECRET)b\n"},
		{"secret=$(SECRET)", "secret=a$(SECRET)b"},
	} {
		result, err := c.ensure(relay(test.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.value("nap-coturn", "turnserver.conf"); got != test.want {
			t.Errorf("run %d makes another file", i)
		}
		if i == 1 && result.Kept != 1 {
			t.Errorf("a second run with the same text: %s", result)
		}
	}
	for name, test := range map[string]struct {
		value, text string
		code        hook.Code
		want        string
	}{
		"a line break":   {"hunt\nrelay-everything", text, hook.Refused, "the key turn of the Secret nap/mine has a line break"},
		"no place":       {"hunter", "realm=nap", hook.Usage, "no $(SECRET)"},
		"nothing to put": {"", text, hook.Refused, "lacks the key turn, which a configuration file needs"},
	} {
		c := newCluster(t, given("mine", "", map[string]string{"turn": test.value}))
		_, err := c.ensure(relay(test.text))
		if hook.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: code %d: %v", name, hook.CodeOf(err), err)
		}
	}
}

// Another run creates the Secret between our read and our write.
func TestRunThatComesSecondKeepsTheOthersValues(t *testing.T) {
	c := newCluster(t)
	theirs := strings.Repeat("b", 64)
	raced := false
	c.client.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if raced || u.GetName() != "nap-pg-user" {
			return false, nil, nil
		}
		raced = true
		c.put(given("nap-pg-user", corev1.SecretTypeBasicAuth, map[string]string{"username": "nap", "password": theirs}))
		return false, nil, nil
	})
	if _, err := c.ensure(release()...); err != nil {
		t.Fatal(err)
	}
	if !raced || c.value("nap-pg-user", "password") != theirs {
		t.Error("the other run's password was lost")
	}
	if !strings.Contains(c.value("nap-database", "url"), theirs) {
		t.Error("the URL was not derived from the password that won")
	}
}

// Another run adds the same key between our read and our write.
func TestConflictIsReadAgain(t *testing.T) {
	c := newCluster(t, given("nap-cp-secret", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": strings.Repeat("a", 64)}))
	theirs := strings.Repeat("b", 64)
	raced := false
	c.client.PrependReactor("update", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if raced {
			return false, nil, nil
		}
		raced = true
		object, err := c.client.Tracker().Get(kube.Secrets, namespace, "nap-cp-secret")
		if err != nil {
			return true, nil, err
		}
		u := object.(*unstructured.Unstructured)
		if err := unstructured.SetNestedField(u.Object, base64.StdEncoding.EncodeToString([]byte(theirs)), "data", "CREDENTIAL_ENCRYPTION_KEY"); err != nil {
			return true, nil, err
		}
		if err := c.client.Tracker().Update(kube.Secrets, u, namespace); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewConflict(kube.Secrets.GroupResource(), "nap-cp-secret", errors.New("changed"))
	})
	if _, err := c.ensure(release()...); err != nil {
		t.Fatal(err)
	}
	if !raced || c.value("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY") != theirs {
		t.Error("the other run's key was lost")
	}
}

func TestAPIErrors(t *testing.T) {
	secrets := kube.Secrets.GroupResource()
	for name, c := range map[string]struct {
		err  error
		code hook.Code
		want string
	}{
		"no right": {apierrors.NewForbidden(secrets, "nap-pg-user", errors.New(`User "system:serviceaccount:nap:hooks" cannot create resource "secrets" in API group "" in the namespace "nap"`)),
			hook.Refused, "system:serviceaccount:nap:hooks may not create secrets in namespace nap"},
		"quota":   {apierrors.NewForbidden(secrets, "nap-pg-user", errors.New("exceeded quota: small")), hook.Refused, "exceeded quota: small"},
		"invalid": {apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), "nap-pg-user", nil), hook.Refused, "the API server finds it invalid"},
		"down":    {apierrors.NewServiceUnavailable("starting"), hook.Unexpected, "create the Secret nap/nap-pg-user: starting"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t)
			cl.client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
			_, err := cl.ensure(release()...)
			if err == nil || hook.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
			}
		})
	}
}
