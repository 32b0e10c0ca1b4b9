package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
)

const newerTag = "e5ea8d0"

// Every service of the platform that has a published version is played in both generations.
func TestEveryServiceHasBothGenerations(t *testing.T) {
	described := images(t)
	played := map[string]bool{"controlPlane": true, "scheduler": true, "envRunner": true, "memoryFuse": true}
	for _, kind := range platform.AgentTypes {
		played[kind] = true
	}
	services := append([]string{"gateway", "skills", "sandboxService", "browserService"}, platform.AgentTypes...)
	for _, name := range append(services, "controlPlane", "scheduler", "envRunner", "memoryFuse") {
		one := described[name]
		i := slices.IndexFunc(one.Variants, func(v variant) bool { return v.Tag == newerTag })
		if i < 0 {
			t.Errorf("%s has no tag %s", name, newerTag)
			continue
		}
		if !played[name] {
			continue
		}
		if got := one.Env[generation.Env]; got != "v0.2.0" {
			t.Errorf("%s plays %q under its default tag", name, got)
		}
		if got := one.Variants[i].Env[generation.Env]; got != newerTag {
			t.Errorf("%s plays %q under the tag %s", name, got, newerTag)
		}
	}
}

// The control plane of v0.2.0 asks workspaces for no token, and redirects unknown paths to the login page.
func TestPublishedControlPlane(t *testing.T) {
	s := serve(t, "jwt-secret-of-the-test", generation.Env, "v0.2.0")
	for path, status := range map[string]int{
		"/_cp/health": 200, "/healthz": 302, "/svc/v1/ping": 302, "/workspace/v1/skills": 302, "/_cp/workspaces/none/skills": 404,
	} {
		s.expect(t, status, http.MethodGet, path, "", nil)
	}
	s.expect(t, 200, http.MethodPost, "/api/auth/login", `{"username":"admin","password":"s3cret-enough"}`, nil)
	var created struct{ ID string }
	if err := json.Unmarshal([]byte(s.expect(t, 201, http.MethodPost, "/api/workspaces", `{"name":"w","agentType":"codex"}`, nil)), &created); err != nil {
		t.Fatal(err)
	}
	var asked struct{ WorkspaceID string }
	if err := json.Unmarshal([]byte(s.expect(t, 200, http.MethodGet, "/_cp/workspaces/"+created.ID+"/skills", "", nil)), &asked); err != nil || asked.WorkspaceID != created.ID {
		t.Errorf("the workspace %s is taken for %q, %v", created.ID, asked.WorkspaceID, err)
	}
}
