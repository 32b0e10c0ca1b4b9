package secret

import (
	"context"
	"net"
	"net/url"
	"strconv"

	"github.com/neutree-ai/packaging/internal/hook"
)

// postgresURL builds a connection URL. A password may hold any character, so it is encoded.
func (k *keeper) postgresURL(ctx context.Context, p hook.PostgresURL) (string, error) {
	user, err := k.lookup(ctx, p.UserFrom)
	if err != nil {
		return "", err
	}
	password, err := k.lookup(ctx, p.PasswordFrom)
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

func (k *keeper) lookup(ctx context.Context, ref hook.SecretRef) (string, error) {
	secret, err := k.get(ctx, ref.Secret)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", hook.Errorf(hook.Refused, "the Secret %s does not exist, and the database's address needs its key %s", k.name(ref.Secret), ref.Key)
	}
	value := string(secret.Data[ref.Key])
	if value == "" {
		return "", hook.Errorf(hook.Refused, "the Secret %s lacks the key %s, which the database's address needs: set it with %s",
			k.name(ref.Secret), ref.Key, k.patchCommand(ref.Secret, []string{ref.Key}))
	}
	return value, nil
}
