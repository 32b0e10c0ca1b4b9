package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each variable of the log-in by LDAP comes from the value of its name: the values are all different, so one that is
// taken for another is seen.
func TestEachLDAPVariableHasItsValue(t *testing.T) {
	want := map[string]string{
		"LDAP_URL": "ldaps://ldap.example.org", "LDAP_BIND_DN": "cn=the-reader", "LDAP_SEARCH_BASE": "ou=the-base",
		"LDAP_SEARCH_FILTER": "(objectClass=theFilter)", "LDAP_ATTR_USERNAME": "theUsername",
		"LDAP_ATTR_NAME":  "theName",
		"LDAP_ATTR_EMAIL": "theEmail", "LDAP_BIND_PASSWORD": "Secret the-secret, key the-key",
	}
	p := podOf(t, renderFor(t, target{json: []string{
		`global.modules.ldap.enabled=true`,
		`global.ldap={"url":"ldaps://ldap.example.org","bindDN":"cn=the-reader","searchBase":"ou=the-base",` +
			`"searchFilter":"(objectClass=theFilter)","existingSecret":"the-secret","existingSecretKey":"the-key",` +
			`"attributes":{"username":"theUsername","name":"theName","email":"theEmail"}}`,
	}}).Main(), "Deployment", "nap-cp")
	got := map[string]string{}
	for name, variable := range variables(t, p, p.container(t, "control-plane")) {
		if !strings.HasPrefix(name, "LDAP_") {
			continue
		}
		got[name] = variable.Value
		if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
			got[name] = "Secret " + from.SecretKeyRef.Name + ", key " + from.SecretKeyRef.Key
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the control plane's variables (-want +got):\n%s", diff)
	}
}
