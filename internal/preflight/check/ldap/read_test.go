package ldap_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/ldap"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// users are what the server of these tests knows.
const users = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=Users,dc=example,dc=com
objectClass: organizationalUnit
ou: Users

dn: uid=ada,ou=Users,dc=example,dc=com
objectClass: inetOrgPerson
uid: ada
cn: Ada Lovelace
sn: Lovelace
mail: ada@example.com

dn: uid=byron,ou=Users,dc=example,dc=com
objectClass: inetOrgPerson
uid: byron
cn: Annabella Byron
sn: Lovelace
mail: byron@example.com
`

const (
	password = "s3cret-of-the-reader"
	config   = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
TLSCertificateFile %[1]s/server.crt
TLSCertificateKeyFile %[1]s/server.key
database mdb
maxsize 10485760
suffix "dc=example,dc=com"
rootdn "cn=reader,dc=example,dc=com"
rootpw %[2]s
directory %[1]s/db
`
)

// server starts Debian's slapd and returns its addresses, without and with TLS, and the authority of the latter.
func server(t *testing.T) (plain, secure, ca string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	ca = certificate(t, dir)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf, data := write("slapd.conf", fmt.Sprintf(config, dir, password)), write("users.ldif", users)
	if output, err := exec.CommandContext(t.Context(), "slapadd", "-q", "-f", conf, "-l", data).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v (install Debian's slapd, as hack/packages.sh does)\n%s", err, output)
	}
	plain, secure = "ldap://"+freeAddress(t), "ldaps://"+freeAddress(t)
	command := exec.Command("/usr/sbin/slapd", "-d", "0", "-f", conf, "-h", plain+" "+secure)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for range 200 {
		if connection, err := net.DialTimeout("tcp", strings.TrimPrefix(secure, "ldaps://"), time.Second); err == nil {
			_ = connection.Close()
			return plain, secure, ca
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("slapd does not answer")
	return "", "", ""
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestDirectory(t *testing.T) {
	plain, secure, ca := server(t)
	good := requirement.Directory{
		URL: secure, BindDN: "cn=reader,dc=example,dc=com", SearchBase: "ou=Users,dc=example,dc=com",
		SearchFilter: "(objectClass=person)", Username: "uid", Name: "cn", Mail: "mail",
	}
	for name, test := range map[string]struct {
		change   func(*requirement.Directory)
		password string
		noCA     bool
		cause    string
		value    string
		severity preflight.Severity
	}{
		"all is well":     {},
		"no TLS":          {change: func(d *requirement.Directory) { d.URL = plain }, cause: "in the clear", value: "global.ldap.url", severity: preflight.Warning},
		"unknown CA":      {noCA: true, cause: "certificate is not trusted", value: "global.trustedCAs.existingSecret", severity: preflight.Error},
		"wrong password":  {password: "wrong", cause: "Invalid Credentials", value: "global.ldap.existingSecret", severity: preflight.Error},
		"malformed DN":    {change: func(d *requirement.Directory) { d.BindDN = "reader" }, cause: "Invalid DN Syntax", value: "global.ldap.bindDN", severity: preflight.Error},
		"no such base":    {change: func(d *requirement.Directory) { d.SearchBase = "ou=People,dc=example,dc=com" }, cause: "No Such Object", value: "global.ldap.searchBase", severity: preflight.Error},
		"open filter":     {change: func(d *requirement.Directory) { d.SearchFilter = "(objectClass=person" }, cause: "Filter Compile Error", value: "global.ldap.searchFilter", severity: preflight.Error},
		"bare filter":     {change: func(d *requirement.Directory) { d.SearchFilter = "objectClass=person" }, cause: "ilter", value: "global.ldap.searchFilter", severity: preflight.Error},
		"nobody matches":  {change: func(d *requirement.Directory) { d.SearchFilter = "(objectClass=device)" }, cause: "matches nobody", value: "global.ldap.searchFilter", severity: preflight.Error},
		"no such name":    {change: func(d *requirement.Directory) { d.Username = "sAMAccountName" }, cause: "no user below", value: "global.ldap.attributes.username", severity: preflight.Error},
		"names not alone": {change: func(d *requirement.Directory) { d.Username = "sn" }, cause: "is not unique", value: "global.ldap.attributes.username", severity: preflight.Error},
		"other spelling":  {change: func(d *requirement.Directory) { d.Username = "UID" }, cause: "it spells the attribute uid, not UID", value: "global.ldap.attributes.username", severity: preflight.Error},
		"no mail":         {change: func(d *requirement.Directory) { d.Mail = "mobile" }, cause: "no user has the attribute mobile", value: "global.ldap.attributes", severity: preflight.Warning},
		"nobody listens":  {change: func(d *requirement.Directory) { d.URL = "ldaps://127.0.0.1:1" }, cause: "not reached from here", value: "global.ldap.url", severity: preflight.Warning},
		"no URL":          {change: func(d *requirement.Directory) { d.URL = "directory.example.com" }, cause: "no URL", value: "global.ldap.url", severity: preflight.Error},
	} {
		t.Run(name, func(t *testing.T) {
			d, pass, authority := good, password, ca
			if test.change != nil {
				test.change(&d)
			}
			if test.password != "" {
				pass = test.password
			}
			if test.noCA {
				authority = ""
			}
			got := ldap.Try(t.Context(), d, pass, authority)
			for _, f := range got {
				if strings.Contains(fmt.Sprint(f), password) {
					t.Errorf("the password is told: %+v", f)
				}
			}
			if test.cause == "" {
				if len(got) != 0 {
					t.Errorf("got %+v", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0].Found, test.cause) || got[0].Value != test.value || got[0].Severity != test.severity {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A server that accepts connections and says nothing does not hang the check.
func TestSilentServer(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	started := time.Now()
	got := ldap.Try(t.Context(), requirement.Directory{URL: "ldap://" + listener.Addr().String(), BindDN: "cn=reader"}, password, "")
	if took := time.Since(started); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if len(got) != 2 || !strings.Contains(got[1].Found, "refuses the bind") || got[1].Value != "global.ldap.url" {
		t.Errorf("got %+v", got)
	}
}
