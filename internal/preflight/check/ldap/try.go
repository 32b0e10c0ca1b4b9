package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

const (
	limit = 10 * time.Second
	// sample is how many users are looked at.
	sample = 50
)

// Try logs in to the directory as the control plane does and looks at some of the users that could log in.
func Try(ctx context.Context, d requirement.Directory, password, ca string) []preflight.Finding {
	t := &trial{Directory: d}
	connection, err := t.dial(ctx, ca)
	if err != nil {
		return t.unreached(err)
	}
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	connection.SetTimeout(limit)
	if strings.HasPrefix(strings.ToLower(d.URL), "ldap://") {
		t.add(preflight.Warning, "global.ldap.url", "passwords cross the network in the clear",
			"whoever listens on the way can log in as any user", "use ldaps://; there is no StartTLS")
	}
	if err := connection.Bind(d.BindDN, password); err != nil {
		t.bind(err)
		return t.findings
	}
	t.search(connection)
	return t.findings
}

type trial struct {
	requirement.Directory
	findings []preflight.Finding
}

func (t *trial) add(severity preflight.Severity, value, cause, why, fix string) {
	t.findings = append(t.findings, preflight.Finding{Object: t.URL, Value: value, Severity: severity, Found: cause, Why: why, Fix: fix})
}

func (t *trial) dial(ctx context.Context, ca string) (*ldap.Conn, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "ldap" && u.Scheme != "ldaps" {
		return nil, errNoURL
	}
	config, err := agent.TLSConfig(ca)
	if err != nil {
		return nil, err
	}
	config.ServerName = u.Hostname()
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "ldaps" {
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, tlsError{err}
		}
		raw = secure
	}
	connection := ldap.NewConn(raw, u.Scheme == "ldaps")
	connection.Start()
	return connection, nil
}

var errNoURL = errors.New("it is no URL of the form ldaps://host or ldap://host")

type tlsError struct{ error }

func (t *trial) unreached(err error) []preflight.Finding {
	var handshake tlsError
	switch {
	case errors.Is(err, errNoURL):
		t.add(preflight.Error, "global.ldap.url", err.Error(), "nobody can log in by the directory", "correct global.ldap.url")
	case errors.As(err, &handshake):
		t.add(preflight.Error, "global.trustedCAs.existingSecret", "its certificate is not trusted: "+err.Error(), "nobody can log in by the directory",
			"put the authority that signed the certificate into the Secret of global.trustedCAs, and name the server in global.ldap.url as the certificate does")
	default:
		t.add(preflight.Warning, "global.ldap.url", "it is not reached from here, so bind and search are not proved: "+err.Error(),
			"whether the cluster reaches it is told by network.egress", "repeat the check from a machine that reaches the directory")
	}
	return t.findings
}

func (t *trial) bind(err error) {
	fix, value := "look at the directory's log", "global.ldap.bindDN"
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		fix, value = "correct the password in the Secret of global.ldap.existingSecret, or global.ldap.bindDN", "global.ldap.existingSecret"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidDNSyntax), ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		fix = "correct global.ldap.bindDN: it is the full name of an entry, such as cn=reader,dc=example,dc=com"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultStrongAuthRequired), ldap.IsErrorWithCode(err, ldap.LDAPResultConfidentialityRequired):
		fix, value = "use ldaps://", "global.ldap.url"
	case ldap.IsErrorWithCode(err, ldap.ErrorNetwork):
		fix, value = "what listens there does not answer in LDAP: correct global.ldap.url", "global.ldap.url"
	}
	t.add(preflight.Error, value, fmt.Sprintf("it refuses the bind of %s: %s", t.BindDN, reason(err)), "nobody can log in by the directory", fix)
}

// reason is an LDAP error in words.
func reason(err error) string {
	var answer *ldap.Error
	if errors.As(err, &answer) && answer.ResultCode < ldap.ErrorNetwork {
		text := ldap.LDAPResultCodeMap[answer.ResultCode]
		if answer.Err != nil && answer.Err.Error() != "" {
			text += " (" + answer.Err.Error() + ")"
		}
		return text
	}
	return err.Error()
}

func (t *trial) search(connection *ldap.Conn) {
	// On its own, since parentheses that are missing in it can be found in what is put around it.
	if _, err := ldap.CompileFilter(t.SearchFilter); err != nil {
		t.refused(err)
		return
	}
	attributes := []string{t.Username, t.Name, t.Mail}
	// The control plane appends what the user typed; a star stands for everybody.
	filter := fmt.Sprintf("(&%s(%s=*))", t.SearchFilter, t.Username)
	request := ldap.NewSearchRequest(t.SearchBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, sample, int(limit.Seconds()), false, filter, attributes, nil)
	found, err := connection.Search(request)
	if err != nil && !(ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && found != nil && len(found.Entries) > 0) {
		t.refused(err)
		return
	}
	if len(found.Entries) == 0 {
		t.empty(connection)
		return
	}
	t.users(found.Entries)
}

func (t *trial) refused(err error) {
	value, fix := "global.ldap.searchBase", "correct global.ldap.searchBase, or let the account of global.ldap.bindDN read below it"
	switch {
	case ldap.IsErrorWithCode(err, ldap.ErrorFilterCompile):
		value, fix = "global.ldap.searchFilter", "correct global.ldap.searchFilter: it is one filter in parentheses, such as (objectClass=person)"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultTimeLimitExceeded):
		value, fix = "global.ldap.searchFilter", "let the directory index the attributes of the filter"
	}
	t.add(preflight.Error, value, fmt.Sprintf("it refuses the search below %s: %s", t.SearchBase, reason(err)), "nobody can log in by the directory", fix)
}

// empty tells which part of the search matches nobody.
func (t *trial) empty(connection *ldap.Conn) {
	request := ldap.NewSearchRequest(t.SearchBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, int(limit.Seconds()), false, t.SearchFilter, []string{"1.1"}, nil)
	found, err := connection.Search(request)
	if found != nil && len(found.Entries) > 0 && (err == nil || ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded)) {
		t.add(preflight.Error, "global.ldap.attributes.username", fmt.Sprintf("no user below %s has the attribute %s", t.SearchBase, t.Username),
			"users are searched for by it, so nobody is found", "set global.ldap.attributes.username to what users log in with: uid, or sAMAccountName in Active Directory")
		return
	}
	t.add(preflight.Error, "global.ldap.searchFilter", fmt.Sprintf("the filter %s matches nobody below %s", t.SearchFilter, t.SearchBase),
		"nobody can log in by the directory", "correct global.ldap.searchFilter or global.ldap.searchBase, or let the account of global.ldap.bindDN see users")
}

// users looks at entries as the control plane does, which takes an attribute by the exact spelling of its name.
func (t *trial) users(entries []*ldap.Entry) {
	seen := map[string]string{}
	var nameless, doubled []string
	misspelt := ""
	without := map[string]int{}
	for _, entry := range entries {
		index := slices.IndexFunc(entry.Attributes, func(a *ldap.EntryAttribute) bool { return strings.EqualFold(a.Name, t.Username) })
		switch {
		case index < 0 || len(entry.Attributes[index].Values) == 0 || entry.Attributes[index].Values[0] == "":
			nameless = append(nameless, entry.DN)
			continue
		case entry.Attributes[index].Name != t.Username:
			misspelt = entry.Attributes[index].Name
		}
		name := strings.ToLower(entry.Attributes[index].Values[0])
		if other, twice := seen[name]; twice {
			doubled = append(doubled, fmt.Sprintf("%s and %s", other, entry.DN))
		}
		seen[name] = entry.DN
		for _, attribute := range []string{t.Name, t.Mail} {
			if attribute != "" && entry.GetEqualFoldAttributeValue(attribute) == "" {
				without[attribute]++
			}
		}
	}
	if misspelt != "" {
		t.add(preflight.Error, "global.ldap.attributes.username", fmt.Sprintf("it spells the attribute %s, not %s", misspelt, t.Username),
			"the control plane reads it by its exact spelling: every user would get the same empty name", "set global.ldap.attributes.username to "+misspelt)
	}
	if len(nameless) > 0 {
		t.add(preflight.Error, "global.ldap.attributes.username", fmt.Sprintf("%d of %d users have an empty %s, for one %s", len(nameless), len(entries), t.Username, nameless[0]),
			"they would all share one account", "narrow global.ldap.searchFilter, or choose another attribute")
	}
	if len(doubled) > 0 {
		t.add(preflight.Error, "global.ldap.attributes.username", fmt.Sprintf("the attribute %s is not unique: %s have the same", t.Username, doubled[0]),
			"two people would share one account", "choose an attribute that is unique, such as uid, or sAMAccountName in Active Directory")
	}
	for _, attribute := range []string{t.Name, t.Mail} {
		if without[attribute] == len(entries) {
			t.add(preflight.Warning, "global.ldap.attributes", fmt.Sprintf("no user has the attribute %s", attribute), "accounts have no name or mail address", "correct global.ldap.attributes")
		}
	}
}
