package contract

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Env is one variable that a service must find in its environment.
type Env struct {
	Name string
	// From is where the value must come from.
	From Source
	// Format is what the service takes the value for.
	Format Format
	// Optional variables may be absent: the service's own default is right.
	Optional bool
}

// Source is where a variable's value comes from.
type Source int

const (
	// FromLiteral is a value in the pod's own specification.
	FromLiteral Source = iota
	// FromSecret is a reference to a key of a Secret: the value stands in no other stored object.
	FromSecret
	// FromConfigMap is a reference to a ConfigMap that is filled in while the release is installed. When the
	// user gives the value it may also be a literal.
	FromConfigMap
)

// Format is what a service takes a variable's value for.
type Format int

const (
	// Text is any value that is not empty.
	Text Format = iota
	// Any may also be empty. The variable must be set all the same, since the service's own default is wrong.
	Any
	// URL is an http or https URL with a host and without a trailing slash.
	URL
	// FilesURL is a URL whose host starts with "files.": the control plane tells requests apart by it.
	FilesURL
	// HostPort is host:port without a scheme.
	HostPort
	// Quantity is an amount of storage.
	Quantity
	// True is the word true.
	True
	// ImageRef is an image with a registry, and with a tag or digest.
	ImageRef
	// ImagePrefix is an image with a registry and without a tag.
	ImagePrefix
	// LDAPURL is an ldap or ldaps URL of a host alone.
	LDAPURL
	// Filter is an LDAP filter in parentheses.
	Filter
	// PostgresURL is a libpq URL whose parts are percent-encoded.
	PostgresURL
)

// Check says what is wrong with a value of this format.
func (f Format) Check(value string) error {
	if value == "" && f != Any {
		return fmt.Errorf("is empty")
	}
	switch f {
	case URL, FilesURL:
		return checkURL(value, f == FilesURL)
	case LDAPURL:
		if u, err := url.Parse(value); err != nil || u.Hostname() == "" || u.Path != "" || (u.Scheme != "ldap" && u.Scheme != "ldaps") {
			return fmt.Errorf("%q is no ldap or ldaps URL of a host", value)
		}
	case Filter:
		if !strings.HasPrefix(value, "(") || !strings.HasSuffix(value, ")") || strings.Count(value, "(") != strings.Count(value, ")") {
			return fmt.Errorf("%q is no filter in parentheses", value)
		}
	case PostgresURL:
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" || (u.Scheme != "postgresql" && u.Scheme != "postgres") {
			// The value holds a password, so the message must not.
			return fmt.Errorf("is no PostgreSQL URL")
		}
	case HostPort:
		host, port, err := net.SplitHostPort(value)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 || strings.Contains(host, "/") {
			return fmt.Errorf("%q is not host:port", value)
		}
	case Quantity:
		if q, err := resource.ParseQuantity(value); err != nil || q.Sign() <= 0 {
			return fmt.Errorf("%q is no amount of storage such as 10Gi", value)
		}
	case True:
		if value != "true" {
			return fmt.Errorf("%q is not true", value)
		}
	case ImageRef, ImagePrefix:
		return checkImage(value, f == ImageRef)
	}
	return nil
}

func checkURL(value string, files bool) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Errorf("%q is no http or https URL", value)
	case strings.HasSuffix(value, "/"):
		return fmt.Errorf("%q ends in a slash", value)
	case files && !strings.HasPrefix(u.Hostname(), "files."):
		return fmt.Errorf("the host of %q must start with \"files.\"", value)
	}
	return nil
}

func checkImage(value string, tagged bool) error {
	registry, rest, found := strings.Cut(value, "/")
	if !found || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		return fmt.Errorf("%q names no registry", value)
	}
	if strings.ContainsAny(rest, ":@") != tagged {
		if tagged {
			return fmt.Errorf("%q has neither a tag nor a digest", value)
		}
		return fmt.Errorf("%q has a tag or digest", value)
	}
	return nil
}

func databaseURL() Env { return Env{Name: "DATABASE_URL", From: FromSecret, Format: PostgresURL} }

// ProviderEnv is how workspaces are made. The control plane and the runner compare what each of them
// derives from it, and rebuild workspaces for ever when they differ.
func ProviderEnv() []Env {
	return []Env{
		{Name: "K8S_NAMESPACE", Format: Text},
		{Name: "CP_SERVICE_URL", Format: URL},
		{Name: "AGENT_IMAGE_PREFIX", Format: ImagePrefix},
		{Name: "AGENT_IMAGE_TAG", Format: Text},
		{Name: "AGENT_STORAGE_CLASS", From: FromConfigMap, Format: Text},
		{Name: "IMAGE_PULL_SECRET", Format: Text, Optional: true},
		{Name: "AGENT_NODE_SELECTOR", Format: Any},
		{Name: "WORKSPACE_STORAGE_SIZE", Format: Quantity},
		{Name: "WORKSPACE_MULTI_REPLICA", Format: True, Optional: true},
		{Name: "AFS_ENABLED", Format: True},
		{Name: "AFS_IMAGE", Format: ImageRef},
		{Name: "AFS_CONTROLLER_ADDR", Format: HostPort},
		{Name: "AFS_STORAGE_PVC", Format: Text},
		{Name: "AFS_CONFIGMAP", Format: Text},
		{Name: "MEMORY_FUSE_IMAGE", Format: ImageRef},
	}
}

// LDAPEnv is what the control plane must be told of a directory: it takes an example for each that is empty.
func LDAPEnv() []Env {
	return []Env{
		{Name: "LDAP_URL", Format: LDAPURL},
		{Name: "LDAP_BIND_DN", Format: Text},
		{Name: "LDAP_BIND_PASSWORD", From: FromSecret, Format: Text},
		{Name: "LDAP_SEARCH_BASE", Format: Text},
		{Name: "LDAP_SEARCH_FILTER", Format: Filter},
		{Name: "LDAP_ATTR_USERNAME", Format: Text},
		{Name: "LDAP_ATTR_NAME", Format: Text},
		{Name: "LDAP_ATTR_EMAIL", Format: Text},
	}
}

func controlPlaneEnv() []Env {
	return append([]Env{
		databaseURL(),
		{Name: "JWT_SECRET", From: FromSecret, Format: Text},
		{Name: "CREDENTIAL_ENCRYPTION_KEY", From: FromSecret, Format: Text},
		{Name: "PLATFORM_SERVICE_KEY", From: FromSecret, Format: Text},
		{Name: "CG_URL", Format: URL},
		{Name: "SKILLS_CONTENT_URL", Format: URL},
		{Name: "OFFICE_CONVERTER_URL", Format: URL},
		{Name: "WEB_PUBLIC_URL", Format: URL},
		// Where there is none, links to exported files do not work.
		{Name: "FILES_PUBLIC_URL", Format: FilesURL, Optional: true},
	}, ProviderEnv()...)
}
