package account_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"

	"github.com/neutree-ai/packaging/internal/account"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestSet(t *testing.T) {
	url := pgtest.Start(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	set := func(user, password string) error {
		p := account.Password{Log: slog.New(slog.DiscardHandler), DatabaseURL: url, User: user, Password: password,
			Secret: "nap-admin"}
		_, err := p.Set(t.Context())
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("the password is shown: %v", err)
		}
		return err
	}
	if err := set("admin", "first-password"); err == nil || !strings.Contains(err.Error(), "look for user admin") {
		t.Errorf("without a table: %v", err)
	}
	_, err = conn.Exec(t.Context(), `
CREATE TABLE public.users (id text, username text UNIQUE, role text, password_hash text);
INSERT INTO public.users VALUES ('1', 'admin', 'admin', 'old'), ('2', 'grace', 'user', 'hers'),
  ('3', 'system', 'system', NULL)`)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (all string) {
		const every = "SELECT string_agg(concat_ws(' ', username, password_hash), ', ' ORDER BY id) FROM public.users"
		err := conn.QueryRow(t.Context(), every).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for _, password := range []string{"first-password", "pässword with a '"} {
		if err := set("admin", password); err != nil {
			t.Fatal(err)
		}
		digest, others, _ := strings.Cut(strings.TrimPrefix(stored(), "admin "), ", ")
		if others != "grace hers, system" {
			t.Errorf("others have %s", others)
		}
		wantDigest(t, digest, password)
	}
	before := stored()
	for user, want := range map[string]string{
		"missing": `user "missing", whom Secret nap-admin names, does not exist`,
		"grace":   "has the role user", "system": "has the role system",
	} {
		err := set(user, "another-password")
		if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "[secrets.admin-user]") {
			t.Errorf("%s: %v", user, err)
		}
	}
	if err := set("admin", "short"); hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "fewer than 6") {
		t.Error(err)
	}
	if stored() != before {
		t.Error("a refusal has changed something")
	}
}

// wantDigest compares a password with a digest in PHC's form, as the control plane does.
func wantDigest(t *testing.T, digest, password string) {
	t.Helper()
	parts := strings.Split(digest, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		t.Fatalf("no digest: %s", digest)
	}
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		t.Fatal(err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		t.Fatal(err)
	}
	key := argon2.IDKey([]byte(password), salt, passes, memory, threads, 32)
	if base64.RawStdEncoding.EncodeToString(key) != parts[5] {
		t.Errorf("%s is no digest of the password", digest)
	}
}
