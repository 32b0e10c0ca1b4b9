package directory

import (
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// An account is called by the attribute that the values name for it, and by no other of the entry.
func TestUserOfAnEntry(t *testing.T) {
	d, err := read(t, complete("LDAP_ATTR_NAME", "displayName", "LDAP_ATTR_EMAIL", "mail"))
	if err != nil {
		t.Fatal(err)
	}
	entry := ldap.NewEntry("uid=ada,ou=people", map[string][]string{
		"uid": {"ada"}, "displayName": {"Ada Lovelace"}, "mail": {"countess@example.org"}, "cn": {"Augusta"},
		"sn": {"King"},
	})
	got, err := d.user(entry)
	if want := (User{Username: "ada", Name: "Ada Lovelace", Email: "countess@example.org"}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	nameless := ldap.NewEntry("cn=printer", map[string][]string{"UID": {"printer"}, "mail": {"printer@example.org"}})
	if got, err := d.user(nameless); err == nil {
		t.Errorf("an entry without the attribute is %+v", got)
	}
}
