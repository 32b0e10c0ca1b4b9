// Package account sets the password of an account of the platform in its database, as the platform itself stores it.
package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/migrate"
)

// The cost of a digest is the default of the library that the control plane uses. A digest names its own cost, so the
// platform reads one with another as well.
const (
	memory   = 19456
	passes   = 2
	threads  = 1
	keySize  = 32
	saltSize = 16
)

// minimum is how many characters the platform wants.
const minimum = 6

// Password is one new password.
type Password struct {
	Log *slog.Logger
	// DatabaseURL is the database's address, with its password.
	DatabaseURL string
	// User is the name that a person logs in with.
	User, Password string
	// Secret is where both are, for messages.
	Secret string
}

// Set stores the password. It may be run again at any time. An account that is no administrator's is left alone: the
// Secret is of the first administrator, and a person who has that name by now may not know of it.
func (p *Password) Set(ctx context.Context) (string, error) {
	if len(p.Password) < minimum || p.User == "" {
		return "", hook.Refusef(finding.SecretsGiven, "write a name and a longer password into it, and run this again",
			"Secret %s has no username, or a password of fewer than %d characters", p.Secret, minimum)
	}
	digest, err := digestOf(p.Password)
	if err != nil {
		return "", err
	}
	conn, err := migrate.Connect(ctx, p.DatabaseURL)
	if err != nil {
		return "", fmt.Errorf("connect to the database: %s", migrate.Reason(err))
	}
	defer migrate.Close(ctx, conn)
	var role string
	err = conn.QueryRow(ctx, "SELECT role FROM public.users WHERE username = $1", p.User).Scan(&role)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", p.refuse("does not exist")
	case err != nil:
		return "", fmt.Errorf("look for user %s in the database: %s", p.User, migrate.Reason(err))
	case role != "admin":
		return "", p.refuse("has the role " + role)
	}
	changed, err := conn.Exec(ctx, "UPDATE public.users SET password_hash = $1 WHERE username = $2 AND role = 'admin'",
		digest, p.User)
	if err != nil {
		return "", fmt.Errorf("set the password of user %s: %s", p.User, migrate.Reason(err))
	}
	if changed.RowsAffected() != 1 {
		return "", p.refuse("has just been changed or deleted")
	}
	return fmt.Sprintf("user %s logs in with the password in Secret %s", p.User, p.Secret), nil
}

func (p *Password) refuse(is string) error {
	return hook.Refuse(finding.Finding{
		ID: finding.SecretsAdminUser, Severity: finding.Error, Object: "Secret " + p.Secret,
		Found: fmt.Sprintf("user %q, whom Secret %s names, %s", p.User, p.Secret, is),
		Why:   "only the password of an administrator is set by it",
		Fix: "give that user the role admin in the web interface, write the name of another administrator into the Secret " +
			"(key username), or leave that Secret alone: only a first install reads it",
	})
}

// digestOf is the password as the platform stores it: Argon2id in PHC's form.
func digestOf(password string) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt, passes, memory, threads, keySize)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, threads, encode(salt),
		encode(key)), nil
}
