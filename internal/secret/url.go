package secret

import (
	"context"
	"net"
	"net/url"
	"strconv"

	"github.com/neutree-ai/packaging/internal/hook"
)

const databaseAddress = "the database's address"

// postgresURL builds a connection URL. A password may hold any character, so it is encoded.
func (k *keeper) postgresURL(ctx context.Context, p hook.PostgresURL) (string, error) {
	user, err := k.lookup(ctx, p.UserFrom, databaseAddress)
	if err != nil {
		return "", err
	}
	password, err := k.lookup(ctx, p.PasswordFrom, databaseAddress)
	if err != nil {
		return "", err
	}
	u := url.URL{
		Scheme: "postgresql",
		User:   url.UserPassword(user, password),
		Host:   net.JoinHostPort(p.Host, strconv.Itoa(p.Port)),
		Path:   "/" + p.Database,
	}
	if p.SSLMode != "" {
		u.RawQuery = url.Values{"sslmode": {p.SSLMode}}.Encode()
	}
	return u.String(), nil
}

// lookup reads a key of another Secret. What needs it is named where it is missing.
func (k *keeper) lookup(ctx context.Context, ref hook.SecretRef, what string) (string, error) {
	secret, err := k.get(ctx, ref.Secret)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", hook.Errorf(hook.Refused, "the Secret %s does not exist, and %s needs its key %s", k.name(ref.Secret), what, ref.Key)
	}
	value := string(secret.Data[ref.Key])
	if value == "" {
		return "", hook.Errorf(hook.Refused, "the Secret %s lacks the key %s, which %s needs: set it with %s",
			k.name(ref.Secret), ref.Key, what, k.patchCommand(ref.Secret, []string{ref.Key}))
	}
	return value, nil
}
