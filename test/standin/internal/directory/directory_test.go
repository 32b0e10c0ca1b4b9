package directory

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

func read(t *testing.T, settings map[string]string) (*Directory, error) {
	t.Helper()
	env := config.New(func(name string) (string, bool) {
		value, set := settings[name]
		return value, set
	})
	return Read(env, nil), env.Err()
}

func complete(changes ...string) map[string]string {
	settings := map[string]string{
		"LDAP_URL": "ldaps://ldap.example.org", "LDAP_BIND_DN": "cn=reader,dc=example,dc=org", "LDAP_BIND_PASSWORD": "readers-own",
		"LDAP_SEARCH_BASE": "ou=people,dc=example,dc=org", "LDAP_SEARCH_FILTER": "(objectClass=person)", "LDAP_ATTR_USERNAME": "uid",
	}
	for i := 0; i < len(changes); i += 2 {
		settings[changes[i]] = changes[i+1]
	}
	return settings
}

func TestSettings(t *testing.T) {
	if d, err := read(t, nil); d != nil || err != nil {
		t.Errorf("without a server: %v, %v", d, err)
	}
	if _, err := read(t, complete()); err != nil {
		t.Errorf("complete settings are refused: %v", err)
	}
	for want, changes := range map[string][]string{
		"LDAP_URL is no ldap or ldaps URL": {"LDAP_URL", "ldap.example.org"},
		"stands in no parentheses":         {"LDAP_SEARCH_FILTER", "objectClass=person"},
		"LDAP_SEARCH_FILTER":               {"LDAP_SEARCH_FILTER", "(objectClass=person))"},
		"LDAP_BIND_DN":                     {"LDAP_BIND_DN", "reader"},
		"LDAP_SEARCH_BASE":                 {"LDAP_SEARCH_BASE", "example.org"},
		"LDAP_BIND_PASSWORD is empty":      {"LDAP_BIND_PASSWORD", ""},
	} {
		if _, err := read(t, complete(changes...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", changes, err, want)
		}
	}
}

// What somebody types as a name stays a name.
func TestNamesAreEscaped(t *testing.T) {
	d, err := read(t, complete())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ada":        `(&(objectClass=person)(uid=ada))`,
		"*":          `(&(objectClass=person)(uid=\2a))`,
		"a)(uid=*":   `(&(objectClass=person)(uid=a\29\28uid=\2a))`,
		`back\slash`: `(&(objectClass=person)(uid=back\5cslash))`,
	} {
		if got := d.search(name); got != want {
			t.Errorf("%q is searched by %s, want %s", name, got, want)
		}
	}
}
