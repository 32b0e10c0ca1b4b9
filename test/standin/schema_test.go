package main

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/standin/internal/standintest"
)

// Nothing starts on a schema that is behind its image's migrations, and nothing migrates by itself.
func TestSchemaBehind(t *testing.T) {
	kubeconfig := fakeKubernetes(t)
	newer := images(t)["controlPlane"].Variants[0].Files
	empty, migrated := standintest.Database(t), standintest.Migrated(t)
	for _, test := range []struct {
		title, image, database string
		files                  map[string]string
		args                   []string
		missing                string
		code                   int
	}{
		{"control plane on nothing", "controlPlane", empty, nil, []string{"dist/index.js"}, "001_init", 1},
		{"newer control plane", "controlPlane", migrated, newer, []string{"dist/index.js"}, "132_workspace_notes", 1},
		{"gateway on nothing", "gateway", empty, nil, []string{"dist/index.js"}, "channel_001_init", 0},
		{"sandboxes on nothing", "sandboxService", empty, nil, []string{"dist/index.js"}, "001_init", 1},
		{"browsers on nothing", "browserService", empty, nil, []string{"dist/index.js"}, "001_init", 1},
		{"administrator", "controlPlane", empty, nil, []string{"dist/seed-admin.js", "--username", "a", "--password", "123456"}, "001_init", 1},
		{"OAuth clients", "controlPlane", migrated, newer, []string{"dist/seed-oauth-clients.js"}, "132_workspace_notes", 1},
		{"tool catalog", "controlPlane", empty, nil, []string{"dist/seed-mcp-catalog-core.js"}, "001_init", 1},
	} {
		t.Run(test.title, func(t *testing.T) {
			env := with(environments()[test.image], "DATABASE_URL", test.database, "KUBECONFIG", kubeconfig)
			r := start(t, workdir(t, test.image, test.files), env, append([]string{"node"}, test.args...)...)
			if code := r.exits(); code != test.code {
				t.Errorf("ends with %d, want %d", code, test.code)
			}
			if !strings.Contains(r.output.String(), "migration "+test.missing+" of this image is not in ") {
				t.Errorf("says %q, want %s", r.output, test.missing)
			}
		})
	}
}

func TestSeedAdmin(t *testing.T) {
	database := standintest.Migrated(t)
	seedAdmin(t, database)
	const hash = `SELECT count(*) FROM public.users WHERE username = 'admin' AND role = 'admin' AND display_name = 'Ada' AND password_hash LIKE '$argon2id$%'`
	if n := count(t, database, hash); n != 1 {
		t.Fatalf("%d administrators, want 1", n)
	}
	dir := workdir(t, "controlPlane", nil)
	env := map[string]string{"DATABASE_URL": database}
	again := start(t, dir, env, "node", "dist/seed-admin.js", "--username", "admin", "--password", "another-one", "--display-name", "Bob")
	if code := again.exits(); code != 0 || !strings.Contains(again.output.String(), "exists already: left as it is") {
		t.Errorf("a second run ends with %d and says %q", code, again.output)
	}
	if n := count(t, database, hash); n != 1 {
		t.Error("a second run changed the administrator")
	}
	for want, args := range map[string][]string{
		"at least 6 characters": {"--username", "bob", "--password", "12345"},
		"--username is empty":   {"--username", "", "--password", "123456"},
		"usage: seed-admin.js":  {"--user", "bob"},
	} {
		r := start(t, dir, env, append([]string{"node", "dist/seed-admin.js"}, args...)...)
		if code := r.exits(); code != 1 || !strings.Contains(r.output.String(), want) {
			t.Errorf("%q ends with %d and says %q, want %q", args, code, r.output, want)
		}
	}
}

func TestOtherSeeds(t *testing.T) {
	database := standintest.Migrated(t)
	dir := workdir(t, "controlPlane", nil)
	seed := func(want int, script string, env ...string) string {
		t.Helper()
		r := start(t, dir, with(map[string]string{"DATABASE_URL": database}, env...), "node", "dist/"+script)
		if code := r.exits(); code != want {
			t.Fatalf("%s ends with %d, want %d:\n%s", script, code, want, r.output)
		}
		return r.output.String()
	}
	seed(0, "seed-oauth-clients.js")
	const redirect = "SANDBOX_OAUTH_REDIRECT_URI"
	if said := seed(1, "seed-oauth-clients.js", redirect, "http://sandbox.test/api/auth/callback"); !strings.Contains(said, "no administrator yet") {
		t.Errorf("without an administrator it says %q", said)
	}
	seedAdmin(t, database)
	seed(0, "seed-oauth-clients.js", redirect, "http://old.test/api/auth/callback")
	seed(0, "seed-oauth-clients.js", redirect, "http://sandbox.test/api/auth/callback")
	if n := count(t, database, `SELECT count(*) FROM public.oauth_clients WHERE id = 'sandbox-service' AND redirect_uris = ARRAY['http://sandbox.test/api/auth/callback']`); n != 1 {
		t.Error("the redirect URI was not replaced")
	}
	if said := seed(1, "seed-mcp-catalog-core.js"); !strings.Contains(said, "CP_SERVICE_URL is not set") {
		t.Errorf("without a URL it says %q", said)
	}
	seed(0, "seed-mcp-catalog-core.js", "CP_SERVICE_URL", "http://nap-cp:3000")
	seed(0, "seed-mcp-catalog-core.js", "CP_SERVICE_URL", "http://nap-cp.nap.svc:3000")
	if n := count(t, database, `SELECT count(*) FROM public.mcp_catalog WHERE id = 'tos-platform' AND required AND url = 'http://nap-cp.nap.svc:3000/mcp'`); n != 1 {
		t.Error("the catalog's URL was not replaced")
	}
}
