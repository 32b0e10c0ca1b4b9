package secret

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

const databaseAddress = "the database's address"

// postgresURL builds a connection URL. A password may hold any character, so it is encoded.
func (k *keeper) postgresURL(ctx context.Context, p hook.PostgresURL) (string, error) {
	u, err := k.postgresAddress(ctx, p)
	if err != nil {
		return "", err
	}
	query := u.Query()
	mode := p.SSLMode
	if given := query.Get("sslmode"); given != "" {
		mode = given
	}
	if mode == "" {
		return u.String(), nil
	}
	// The services' driver takes "require" for "verify-full", and libpq's "verify-ca" only when it is told whose
	// modes are meant.
	switch mode {
	case "disable", "verify-full", "no-verify":
	case "require":
		mode = "no-verify"
	case "verify-ca":
		if p.RootCert == "" {
			return "", hook.Refuse(finding.Finding{
				ID: finding.SecretsAddress, Severity: finding.Error, Value: "global.database.external.caSecret",
				Found: "the database's address asks for the sslmode verify-ca, which needs a CA certificate",
				Fix:   "name a Secret with it in global.database.external.caSecret",
			})
		}
		query.Set("uselibpqcompat", "true")
	default:
		return "", hook.Refuse(finding.Finding{
			ID: finding.SecretsAddress, Severity: finding.Error, Value: "global.database.external.sslmode",
			Found: fmt.Sprintf("the database's address asks for the sslmode %q, which promises nothing", mode),
			Fix:   "write disable, require, verify-ca or verify-full",
		})
	}
	query.Set("sslmode", mode)
	if p.RootCert != "" && strings.HasPrefix(mode, "verify-") {
		query.Set("sslrootcert", p.RootCert)
	}
	u.RawQuery = platform.Query(query)
	return u.String(), nil
}

// postgresAddress is the URL without what it says of TLS, or the one that the user gave.
func (k *keeper) postgresAddress(ctx context.Context, p hook.PostgresURL) (*url.URL, error) {
	if p.URLFrom != nil {
		given, err := k.lookup(ctx, *p.URLFrom, databaseAddress)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(strings.TrimSpace(given))
		if err != nil || (u.Scheme != "postgresql" && u.Scheme != "postgres") || u.Hostname() == "" || u.User == nil || strings.Trim(u.Path, "/") == "" || strings.Contains(u.Host, ",") {
			return nil, k.refuse(finding.SecretsAddress, p.URLFrom.Secret,
				fmt.Sprintf("the key %s of the Secret %s is no address of one database", p.URLFrom.Key, k.name(p.URLFrom.Secret)),
				"write postgresql://user:password@host:port/database, with characters such as @ : / # % in user and password percent-encoded")
		}
		return u, nil
	}
	user, err := k.lookup(ctx, p.UserFrom, databaseAddress)
	if err != nil {
		return nil, err
	}
	password, err := k.lookup(ctx, p.PasswordFrom, databaseAddress)
	if err != nil {
		return nil, err
	}
	return &url.URL{
		Scheme: "postgresql",
		User:   url.UserPassword(user, password),
		Host:   net.JoinHostPort(p.Host, strconv.Itoa(p.Port)),
		Path:   "/" + p.Database,
	}, nil
}

// lookup reads a key of another Secret. What needs it is named where it is missing.
func (k *keeper) lookup(ctx context.Context, ref hook.SecretRef, what string) (string, error) {
	secret, err := k.get(ctx, ref.Secret)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", k.refuse(finding.SecretsGiven, ref.Secret,
			fmt.Sprintf("the Secret %s does not exist, and %s needs its key %s", k.name(ref.Secret), what, ref.Key), "")
	}
	value := string(secret.Data[ref.Key])
	if value == "" {
		return "", k.refuse(finding.SecretsGiven, ref.Secret,
			fmt.Sprintf("the Secret %s lacks the key %s, which %s needs", k.name(ref.Secret), ref.Key, what),
			"set it with "+k.patchCommand(ref.Secret, []string{ref.Key}))
	}
	return value, nil
}
