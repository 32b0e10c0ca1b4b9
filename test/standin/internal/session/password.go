// Package session proves who somebody is: passwords as users hold them, the signed cookie of a session,
// and the tokens of workspaces.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	argonMemory  = 64 * 1024
	argonTime    = 3
	argonThreads = 4
	argonKey     = 32
	saltLength   = 16
)

// HashPassword returns an argon2id hash in its PHC string form.
func HashPassword(password string) string {
	salt := make([]byte, saltLength)
	rand.Read(salt) //nolint:errcheck // It never fails.
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// PasswordMatches compares a password with a hash in PHC string form.
func PasswordMatches(hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("the stored hash is no argon2id hash")
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, fmt.Errorf("the stored hash has another version than %d", argon2.Version)
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || time == 0 || threads == 0 {
		return false, fmt.Errorf("the stored hash has wrong parameters")
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	want, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || len(want) == 0 {
		return false, fmt.Errorf("the stored hash is not base64")
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

const idAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// NewID returns the eight letters that name a user or a workspace.
func NewID() string {
	raw := make([]byte, 8)
	rand.Read(raw) //nolint:errcheck // It never fails.
	for i := range raw {
		raw[i] = idAlphabet[int(raw[i])%len(idAlphabet)]
	}
	return string(raw)
}

// NewWorkspaceToken returns a token that a workspace proves itself with.
func NewWorkspaceToken() string {
	raw := make([]byte, 32)
	rand.Read(raw) //nolint:errcheck // It never fails.
	return "tos_" + hex.EncodeToString(raw)
}

// TokenHash is what the database keeps of a workspace's token.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
