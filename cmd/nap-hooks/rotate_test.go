package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/pgtest"
	"github.com/neutree-ai/packaging/internal/secret"
)

// What the Job of a rotation runs: the keys come from files, and the password from the environment.
func TestRotate(t *testing.T) {
	url, dir := pgtest.Start(t), t.TempDir()
	t.Setenv("DATABASE_URL", url)
	pgtest.Exec(t, url, `CREATE EXTENSION pgcrypto;
CREATE TABLE public.user_credentials (id text PRIMARY KEY, secret bytea);
INSERT INTO public.user_credentials VALUES ('c1', pgp_sym_encrypt('hunter2', 'old-key'));
CREATE TABLE public.users (username text, role text, password_hash text);
INSERT INTO public.users VALUES ('admin', 'admin', NULL);
ALTER TABLE public.user_credentials OWNER TO nap; ALTER TABLE public.users OWNER TO nap;`)
	spec, keys := filepath.Join(dir, "spec.yaml"), filepath.Join(dir, "keys")
	content := map[string]string{spec: "encryptionKey: {secret: keys, key: KEY}\nadmin: nap-admin\n",
		filepath.Join(keys, "old"): "old-key", filepath.Join(keys, "new"): "new-key"}
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range content {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, message := call(t, "rotate", "--spec", spec, "credential-key", "--keys", keys)
	if code != 0 || message != "1 credentials are encrypted with the new key" {
		t.Errorf("exit code %d: %s", code, message)
	}
	pgtest.Exec(t, url, "SELECT pgp_sym_decrypt(secret, 'new-key') FROM public.user_credentials")
	mark := secret.MarkKeys("uid-7", map[string][]byte{"old": []byte("old-key"), "new": []byte("new-key")})
	for with, want := range map[string]int{mark: 0, strings.Replace(mark, "7", "8", 1): 1, "none": 1} {
		code, _, message := call(t, "rotate", "--spec", spec, "credential-key", "--keys", keys, "--keyring", with)
		if code != want || code == 1 &&
			!strings.Contains(message, "another version of the Secret with the keys") {
			t.Errorf("mark %s: exit code %d: %s", with, code, message)
		}
	}
	code, _, message = call(t, "rotate", "--spec", spec, "credential-key", "--keys", dir)
	if code != 2 || !strings.Contains(message, "read the keys") && !strings.Contains(message, "lacks the new key") {
		t.Errorf("exit code %d: %s", code, message)
	}
	t.Setenv("ADMIN_USERNAME", "admin")
	t.Setenv("ADMIN_PASSWORD", "correct-horse")
	code, _, message = call(t, "rotate", "--spec", spec, "admin")
	if code != 0 || message != "user admin logs in with the password in Secret nap-admin" {
		t.Errorf("exit code %d: %s", code, message)
	}
	t.Setenv("ADMIN_USERNAME", "other")
	if code, _, message = call(t, "rotate", "--spec", spec, "admin"); code != 10 || !strings.Contains(message, "[secrets.admin-user]") {
		t.Errorf("exit code %d: %s", code, message)
	}
}
