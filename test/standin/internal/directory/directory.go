// Package directory plays the control plane's log-in by LDAP: search by one account, bind by the user's own.
package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

// Limit bounds each exchange with the server. The real service waits for ever.
const Limit = 5 * time.Second

// ErrCredentials is a name or a password that the directory does not know.
var ErrCredentials = errors.New("the directory knows no such user with this password")

// Directory is where users are looked up.
type Directory struct {
	address               string
	bindDN, bindPassword  string
	base, filter          string
	username, name, email string
	roots                 *x509.CertPool
}

// User is what the directory says of one.
type User struct{ Username, Name, Email string }

// Read takes the settings of the real service and its defaults, the wrong ones included. It is nil where no server is
// named: the real service would ask one on its own machine.
func Read(env *config.Env, roots *x509.CertPool) *Directory {
	d := &Directory{
		address:      env.Optional("LDAP_URL", ""),
		bindDN:       env.Optional("LDAP_BIND_DN", "cn=Manager,dc=example,dc=com"),
		bindPassword: env.Optional("LDAP_BIND_PASSWORD", ""),
		base:         env.Optional("LDAP_SEARCH_BASE", "ou=Users,dc=example,dc=com"),
		filter:       env.Optional("LDAP_SEARCH_FILTER", "(objectClass=inetOrgPerson)"),
		username:     env.Optional("LDAP_ATTR_USERNAME", "sn"),
		name:         env.Optional("LDAP_ATTR_NAME", "cn"),
		email:        env.Optional("LDAP_ATTR_EMAIL", "mail"),
		roots:        roots,
	}
	if d.address == "" {
		return nil
	}
	env.Require("LDAP_URL", func() error {
		u, err := url.Parse(d.address)
		if err != nil || !slices.Contains([]string{"ldap", "ldaps"}, u.Scheme) || u.Hostname() == "" {
			return errors.New("is no ldap or ldaps URL")
		}
		return nil
	})
	env.Require("LDAP_SEARCH_FILTER", func() error {
		if !strings.HasPrefix(d.filter, "(") || !strings.HasSuffix(d.filter, ")") {
			return fmt.Errorf("%q stands in no parentheses", d.filter)
		}
		_, err := ldap.CompileFilter(d.search("somebody"))
		return err
	})
	for _, name := range []string{"LDAP_BIND_DN", "LDAP_SEARCH_BASE"} {
		env.Require(name, func() error {
			_, err := ldap.ParseDN(env.Optional(name, ""))
			return err
		})
	}
	env.Secret("LDAP_BIND_PASSWORD")
	return d
}

// search is the filter that finds one user. The real service does not escape the name.
func (d *Directory) search(name string) string {
	return "(&" + d.filter + "(" + d.username + "=" + ldap.EscapeFilter(name) + "))"
}

// LogIn asks the directory whether a user with this name has this password.
func (d *Directory) LogIn(name, password string) (User, error) {
	if name == "" || password == "" {
		return User{}, ErrCredentials
	}
	entry, err := d.find(name)
	if err != nil {
		return User{}, err
	}
	conn, err := d.dial()
	if err != nil {
		return User{}, err
	}
	defer conn.Close() //nolint:errcheck // Its work is done.
	err = conn.Bind(entry.DN, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return User{}, ErrCredentials
	}
	if err != nil {
		return User{}, fmt.Errorf("bind as %s: %w", entry.DN, err)
	}
	return d.user(entry)
}

// user is what the control plane keeps of an entry. It takes an attribute by the exact spelling of its name.
func (d *Directory) user(entry *ldap.Entry) (User, error) {
	user := User{Username: entry.GetAttributeValue(d.username), Name: entry.GetAttributeValue(d.name), Email: entry.GetAttributeValue(d.email)}
	if user.Username == "" {
		return User{}, fmt.Errorf("%s has no attribute spelt %s: LDAP_ATTR_USERNAME must be as the directory returns it", entry.DN, d.username)
	}
	return user, nil
}

func (d *Directory) find(name string) (*ldap.Entry, error) {
	conn, err := d.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // Its work is done.
	if err := conn.Bind(d.bindDN, d.bindPassword); err != nil {
		return nil, fmt.Errorf("bind as LDAP_BIND_DN: %w", err)
	}
	request := ldap.NewSearchRequest(d.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, int(Limit.Seconds()), false,
		d.search(name), []string{d.username, d.name, d.email}, nil)
	found, err := conn.Search(request)
	if err != nil {
		return nil, fmt.Errorf("search below LDAP_SEARCH_BASE: %w", err)
	}
	if len(found.Entries) == 0 {
		return nil, ErrCredentials
	}
	return found.Entries[0], nil
}

func (d *Directory) dial() (*ldap.Conn, error) {
	conn, err := ldap.DialURL(d.address, ldap.DialWithDialer(&net.Dialer{Timeout: Limit}),
		ldap.DialWithTLSConfig(&tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS12}))
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", d.address, err)
	}
	conn.SetTimeout(Limit)
	return conn, nil
}
