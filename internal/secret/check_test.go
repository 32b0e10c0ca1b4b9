package secret_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// The password of the first administrator must be longer for a new installation than 0.1.0 asked for.
func TestAnInstalledPlatformKeepsAShorterPassword(t *testing.T) {
	admin := hook.Secret{Name: "my-own", Existing: true, Value: "global.admin.existingSecret",
		Data: map[string]hook.SecretKey{
			"password": {Required: true, MinLength: 6, NewMinLength: 12}}}
	created := given("nap-cp-secret", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": strings.Repeat("a", 64),
		"CREDENTIAL_ENCRYPTION_KEY": strings.Repeat("b", 64)})
	foreign := created.DeepCopy()
	created.Labels = map[string]string{kube.ManagedByLabel: kube.FieldManager}
	const refusal = "the key password of the Secret nap/my-own, named by global.admin.existingSecret, is too short " +
		"(it needs at least 12 characters)"
	for name, c := range map[string]struct {
		password string
		there    *corev1.Secret
		refused  bool
	}{
		"a new installation":              {password: "eleven-char", refused: true},
		"one whose keys a user has saved": {password: "eleven-char", there: foreign, refused: true},
		"an installed platform":           {password: "hunter", there: created},
		"a long password":                 {password: "twelve-chars"},
	} {
		t.Run(name, func(t *testing.T) {
			there := []*corev1.Secret{given("my-own", "", map[string]string{"password": c.password})}
			if c.there != nil {
				there = append(there, c.there)
			}
			k := newCluster(t, there...)
			_, err := k.ensure(append(release(), admin)...)
			if refused := err != nil && strings.Contains(err.Error(), refusal); refused != c.refused || !refused && err != nil {
				t.Errorf("%v, want a refusal: %t", err, c.refused)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	required := map[string]hook.SecretKey{"username": {Required: true}, "password": {Required: true, MinLength: 6}}
	mine := hook.Secret{Name: "my-own", Existing: true, Value: "global.admin.existingSecret", Data: required}
	immutable := given("nap-cp-secret", corev1.SecretTypeOpaque, map[string]string{"JWT_SECRET": strings.Repeat("a", 64)})
	immutable.Immutable = new(bool)
	*immutable.Immutable = true
	for name, c := range map[string]struct {
		there []*corev1.Secret
		extra hook.Secret
		want  []string
	}{
		"given one is missing": {nil, mine, []string{
			"the Secret nap/my-own, named by global.admin.existingSecret, does not exist",
			"kubectl create secret generic my-own --namespace nap --from-env-file=FILE, where FILE has the lines " +
				"password=VALUE, username=VALUE"}},
		"a certificate is missing": {nil, hook.Secret{Name: "ca", Existing: true, Data: map[string]hook.SecretKey{
			"ca.crt": {Required: true, Lines: true, Public: true}}}, []string{
			"kubectl create secret generic ca --namespace nap --from-file=ca.crt=FILE"}},
		"given one lacks a key": {[]*corev1.Secret{given("my-own", "", map[string]string{"username": "me"})}, mine, []string{
			"the Secret nap/my-own, named by global.admin.existingSecret, lacks the key password",
			`kubectl patch secret my-own --namespace nap --type merge --patch-file FILE, where FILE holds ` +
				`{"stringData":{"password":"VALUE"}}`}},
		"given one lacks two keys": {[]*corev1.Secret{given("my-own", "", nil)}, mine,
			[]string{"lacks the keys password and username"}},
		"given one is too short": {[]*corev1.Secret{given("my-own", "", map[string]string{"username": "me",
			"password": "hunt2"})}, mine, []string{
			"the key password of the Secret nap/my-own, named by global.admin.existingSecret, is too short (it needs at " +
				"least 6 characters)"}},
		"given one is empty": {[]*corev1.Secret{given("my-own", "", map[string]string{"username": " ",
			"password": "hunter2"})}, mine, []string{
			"the key username of the Secret nap/my-own, named by global.admin.existingSecret, is empty"}},
		"given one ends with a line break": {[]*corev1.Secret{given("my-own", "", map[string]string{"username": "me",
			"password": "hunter22\n"})}, mine, []string{
			"the key password of the Secret nap/my-own, named by global.admin.existingSecret, ends with a line break, which " +
				"services take for a part of it",
			`kubectl patch secret my-own --namespace nap --type merge --patch-file FILE, where FILE holds ` +
				`{"stringData":{"password":"VALUE"}}`, "--from-env-file and printf %s do not", "[secrets.given]"}},
		"a role's name ends with one": {[]*corev1.Secret{given("nap-pg-user", corev1.SecretTypeBasicAuth,
			map[string]string{"username": "nap\r\n",
				"password": "hunter22"})}, hook.Secret{Name: "turn", Data: map[string]hook.SecretKey{"secret": {Value: "hunter22\n"}}}, []string{
			"the key username of the Secret nap/nap-pg-user ends with a line break", "kubectl patch secret nap-pg-user",
			"the value for the key secret of the Secret nap/turn ends with a line break: change it in the chart's values"}},
		"two problems at once": {[]*corev1.Secret{given("nap-admin", "", map[string]string{"username": "me",
			"password": "Change-Me-now"})}, mine, []string{
			"nap/my-own", "the key password of the Secret nap/nap-admin is still the placeholder of an example"}},
		"short key that is there": {[]*corev1.Secret{given("nap-cp-secret", "",
			map[string]string{"JWT_SECRET": "hunter2"})}, mine, []string{
			"the key JWT_SECRET of the Secret nap/nap-cp-secret is too short (it needs at least 32 " +
				"characters)", "kubectl patch secret nap-cp-secret"}},
		"placeholder in the chart": {nil, hook.Secret{Name: "turn",
			Data: map[string]hook.SecretKey{"secret": {Value: "change-me-please"}}}, []string{
			"the value for the key secret of the Secret nap/turn is still the placeholder of an example", "chart's values"}},
		"empty in the chart": {nil, hook.Secret{Name: "turn", Data: map[string]hook.SecretKey{"secret": {}}},
			[]string{"the value for the key secret of the Secret nap/turn is empty"}},
		"other type": {[]*corev1.Secret{given("nap-pg-user", corev1.SecretTypeOpaque, map[string]string{"username": "nap",
			"password": "hunter22"})}, mine, []string{
			"the Secret nap/nap-pg-user is of type Opaque and must be of type kubernetes.io/basic-auth", "cannot be changed " +
				"in place", "kubectl delete secret nap-pg-user --namespace nap"}},
		"immutable": {[]*corev1.Secret{immutable, given("my-own", "", map[string]string{"username": "me",
			"password": "hunter2"})}, mine, []string{
			"the Secret nap/nap-cp-secret is immutable and lacks the right value of the key CREDENTIAL_ENCRYPTION_KEY"}},
		"URL from nothing": {nil, hook.Secret{Name: "other-database",
			Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{
				Host: "db", Port: 5432, Database: "nap", UserFrom: hook.SecretRef{Secret: "mine",
					Key: "user"}, PasswordFrom: hook.SecretRef{Secret: "mine", Key: "password"}}}}}, []string{
			"the Secret nap/mine does not exist", "needs its key user"}},
		"URL from an empty key": {[]*corev1.Secret{given("mine", "", map[string]string{"user": "nap"})},
			hook.Secret{Name: "other-database", Data: map[string]hook.SecretKey{"url": {PostgresURL: &hook.PostgresURL{
				Host: "db", Port: 5432, Database: "nap", UserFrom: hook.SecretRef{Secret: "mine",
					Key: "user"}, PasswordFrom: hook.SecretRef{Secret: "mine", Key: "password"}}}}}, []string{
				"the Secret nap/mine lacks the key password", "kubectl patch secret mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, c.there...)
			_, err := cl.ensure(append(release(), c.extra)...)
			if hook.CodeOf(err) != hook.Refused {
				t.Fatalf("exit code %d: %v", hook.CodeOf(err), err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message does not say %q: %v", part, err)
				}
			}
			if strings.Contains(err.Error()+cl.log.String(), "hunt") {
				t.Errorf("a value is shown: %v", err)
			}
			atOnce := !slices.Contains([]string{"immutable", "URL from nothing", "URL from an empty key"}, name)
			if atOnce && cl.writes() > 0 {
				t.Errorf("%d writes went before the refusal", cl.writes())
			}
		})
	}
}

// A key with a line break at its end may have encrypted what users have stored. An upgrade must neither refuse it nor have
// it changed without need.
func TestALineBreakThatHasWorkedIsKept(t *testing.T) {
	key := strings.Repeat("a", 64) + "\n"
	mine := hook.Secret{Name: "my-own", Existing: true, Data: map[string]hook.SecretKey{"password": {Required: true},
		"ca.crt": {Lines: true}}}
	c := newCluster(t, given("nap-cp-secret", "", map[string]string{"CREDENTIAL_ENCRYPTION_KEY": key}),
		given("nap-database", "", map[string]string{"url": "postgresql://nap:x@nap-pg-rw/nap"}),
		given("my-own", "", map[string]string{"password": "hunter22\n", "ca.crt": "-----BEGIN CERTIFICATE-----\n"}))
	if _, err := c.ensure(append(release(), mine)...); err != nil {
		t.Fatal(err)
	}
	if c.value("nap-cp-secret", "CREDENTIAL_ENCRYPTION_KEY") != key {
		t.Error("the key was changed")
	}
	for _, what := range []string{"the key CREDENTIAL_ENCRYPTION_KEY of the Secret nap/nap-cp-secret",
		"the key password of the Secret nap/my-own"} {
		if want := what + " ends with a line break"; !strings.Contains(c.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &c.log)
		}
	}
	if !strings.Contains(c.log.String(), "leave it if everything works") || strings.Contains(c.log.String(), "ca.crt") {
		t.Errorf("the advice is not to leave it, or is about a certificate:\n%s", &c.log)
	}
}

func TestSpecThatCannotBe(t *testing.T) {
	for want, s := range map[string]hook.Secret{
		"has no keys":             {Name: "a"},
		"is empty or there twice": {Name: "nap-admin", Data: map[string]hook.SecretKey{"a": {Value: "abc"}}},
		"cannot have a value":     {Name: "a", Existing: true, Data: map[string]hook.SecretKey{"a": {Value: "abc"}}},
		"more than one of value": {Name: "a", Data: map[string]hook.SecretKey{"a": {Value: "abc",
			Generate: &hook.GenerateSpec{Bytes: 32}}}},
		"from at least 8 bytes": {Name: "a", Data: map[string]hook.SecretKey{"a": generate(0)}},
	} {
		t.Run(want, func(t *testing.T) {
			cl := newCluster(t)
			_, err := cl.ensure(append(release(), s)...)
			if hook.CodeOf(err) != hook.Usage || !strings.Contains(err.Error(), want) {
				t.Errorf("exit code %d: %v", hook.CodeOf(err), err)
			}
		})
	}
}
