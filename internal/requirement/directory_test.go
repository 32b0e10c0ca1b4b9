package requirement_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
)

// What preflight tries of the directory is what the control plane will do, attribute by attribute.
func TestEveryAttributeOfTheDirectory(t *testing.T) {
	set := requirementtest.Load(t, "global.modules.ldap.enabled=true", "global.ldap.url=ldap://the-url",
		"global.ldap.bindDN=the-reader",
		"global.ldap.existingSecret=the-secret", "global.ldap.existingSecretKey=the-key",
		"global.ldap.searchBase=the-base",
		"global.ldap.searchFilter=(the-filter=*)", "global.ldap.attributes.username=theUsername",
		"global.ldap.attributes.name=theName",
		"global.ldap.attributes.email=theEmail", "global.trustedCAs.existingSecret=the-ca",
		"global.trustedCAs.existingSecretKey=ca.pem")
	want := &requirement.Directory{
		URL: "ldap://the-url", BindDN: "the-reader", Secret: "the-secret", SecretKey: "the-key", SearchBase: "the-base",
		SearchFilter: "(the-filter=*)", Username: "theUsername", Name: "theName", Mail: "theEmail",
		CASecret: "the-ca", CAKey: "ca.pem",
	}
	if diff := cmp.Diff(want, set.Directory); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
