package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

const someDatabase = "postgresql://nap:secret@127.0.0.1:1/nap"

// environments are complete environments of the services, by the image they run in.
func environments() map[string]map[string]string {
	return map[string]map[string]string{
		"controlPlane": controlPlaneEnv(someDatabase),
		"gateway":      gatewayEnv(someDatabase),
		"scheduler":    schedulerEnv(someDatabase),
		"skills":       {"DATABASE_URL": someDatabase},
		"envRunner":    with(settings(), "DATABASE_URL", someDatabase),

		"sandboxService": sandboxEnv(someDatabase),
		"browserService": browserEnv(someDatabase),
	}
}

// Every service dies with a line that names the variable which is missing.
func TestMissingVariable(t *testing.T) {
	for _, workload := range slices.Concat(contract.Workloads(), contract.ModuleWorkloads()) {
		env, known := environments()[workload.Image]
		if !known {
			continue
		}
		dir := workdir(t, workload.Image, nil)
		for _, required := range workload.Env {
			if required.Optional {
				continue
			}
			t.Run(workload.Name+"/"+required.Name, func(t *testing.T) {
				t.Parallel()
				r := start(t, dir, without(env, required.Name), "node", "dist/index.js")
				if code := r.exits(); code != 1 {
					t.Errorf("ends with %d, want 1", code)
				}
				if !strings.Contains(r.output.String(), required.Name+" is not set") {
					t.Errorf("says %q", r.output)
				}
				if n := strings.Count(strings.TrimSpace(r.output.String()), "\n"); n > 0 {
					t.Errorf("says it in %d lines:\n%s", n+1, r.output)
				}
			})
		}
	}
}

// refusal is what internal/platform says of a value.
func refusal(format contract.Format, value string) string { return format.Check(value).Error() }

func TestMalformedVariable(t *testing.T) {
	for _, test := range []struct{ image, name, value, want string }{
		{"controlPlane", "CP_SERVICE_URL", "nap-cp:3000", refusal(contract.URL, "nap-cp:3000")},
		{"controlPlane", "WEB_PUBLIC_URL", "http://nap.example.org/", refusal(contract.URL, "http://nap.example.org/")},
		{"controlPlane", "FILES_PUBLIC_URL", "http://nap.example.org", refusal(contract.FilesURL, "http://nap.example.org")},
		{"controlPlane", "AFS_CONTROLLER_ADDR", "http://afs-controller:9100", refusal(contract.HostPort, "http://afs-controller:9100")},
		{"controlPlane", "AFS_IMAGE", "", refusal(contract.ImageRef, "")},
		{"controlPlane", "JWT_SECRET", "", refusal(contract.Text, "")},
		{"controlPlane", "JWT_SECRET", "nap-jwt-secret-change-me", "public constant"},
		{"controlPlane", "DATABASE_URL", "postgresql://nap:$(POSTGRES_PASSWORD)@nap-pg-rw:5432/nap", "did not expand"},
		{"controlPlane", "LDAP_URL", "ldap.example.org", "is no ldap or ldaps URL"},
		{"controlPlane", "NODE_EXTRA_CA_CERTS", "/nowhere/ca.crt", "no such file"},
		{"sandboxService", "SANDBOX_DOMAIN", "localhost", "is not the host of SANDBOX_SERVICE_URL"},
		{"sandboxService", "OPENSANDBOX_URL", "opensandbox-server", refusal(contract.URL, "opensandbox-server")},
		{"sandboxService", "SERVICE_KEY", "sandbox-service-key-change-me", "public constant"},
		{"browserService", "BROWSER_IMAGE", "", refusal(contract.ImageRef, "")},
		{"browserService", "TURN_PORT", "turn", "is no positive number"},
		{"controlPlane", "AGENT_IMAGE_PREFIX", "ghcr.io/neutree-ai/nap-agent:v1", refusal(contract.ImagePrefix, "ghcr.io/neutree-ai/nap-agent:v1")},
		{"controlPlane", "AGENT_NODE_SELECTOR", "agents", "is not of the form key=value"},
		{"controlPlane", "AFS_PROTO_PATH", "/nowhere/afs.proto", "can't be read"},
		{"controlPlane", "STANDIN_CONTRACT", "v0.1.0", `is "v0.1.0", not v0.2.0 or e5ea8d0`},
		{"gateway", "NAP_API_URL", "http://nap-cp:3000/", refusal(contract.URL, "http://nap-cp:3000/")},
		{"scheduler", "CG_API_URL", "nap-cg:3002", refusal(contract.URL, "nap-cg:3002")},
		{"scheduler", "PLATFORM_SERVICE_KEY", "", refusal(contract.Text, "")},
		{"skills", "CACHE_LOW_WATER_BYTES", "9999999999", "not below CACHE_HIGH_WATER_BYTES"},
		{"skills", "CACHE_DIR", "/nowhere", "is not writable"},
		{"envRunner", "AGENT_STORAGE_CLASS", "", refusal(contract.Text, "")},
		{"envRunner", "ENV_RUNNER_INTERVAL_MS", "15s", "is no positive number"},
		{"envRunner", "AFS_ENABLED", "yes", refusal(contract.True, "yes")},
	} {
		t.Run(test.image+"/"+test.name+"/"+test.value, func(t *testing.T) {
			t.Parallel()
			r := start(t, workdir(t, test.image, nil), with(environments()[test.image], test.name, test.value), "node", "dist/index.js")
			if code := r.exits(); code != 1 {
				t.Errorf("ends with %d, want 1", code)
			}
			if said := r.output.String(); !strings.Contains(said, test.name) || !strings.Contains(strings.ReplaceAll(said, `\"`, `"`), test.want) {
				t.Errorf("says %q, want %s and %q", said, test.name, test.want)
			}
		})
	}
}

// A service that runs outside of Kubernetes, or in a pod without a token, can't do its work.
func TestNoServiceAccount(t *testing.T) {
	for _, image := range []string{"controlPlane", "envRunner"} {
		r := start(t, workdir(t, image, nil), environments()[image], "node", "dist/index.js")
		if code := r.exits(); code != 1 || !strings.Contains(r.output.String(), "ServiceAccount with a mounted token") {
			t.Errorf("%s ends with %d and says %q", image, code, r.output)
		}
	}
}

func TestWrongWorkingDirectory(t *testing.T) {
	r := start(t, t.TempDir(), controlPlaneEnv(someDatabase), "node", "dist/index.js")
	if code := r.exits(); code != 1 || !strings.Contains(r.output.String(), "cannot find module dist/index.js") {
		t.Errorf("ends with %d and says %q", code, r.output)
	}
}

func TestNodeArguments(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"node"}, "runs a script or -e EXPRESSION"},
		{[]string{"node", "-e", "process.exit(0)"}, "evaluates process.kill"},
		{[]string{"node", "-e", "process.kill(1,'SIGNAL')"}, "unknown signal SIGNAL"},
		{[]string{"afs-controller"}, "usage: afs-controller CONFIG.toml"},
		{[]string{"afs"}, "name the program to run"},
		{[]string{"gotenberg", "--api-timeouts=120s"}, "api-timeouts"},
		{[]string{"gotenberg", "gotenberg"}, "unknown argument"},
		{[]string{"afs-fuse", "/nowhere.toml"}, "read /nowhere.toml"},
		{[]string{"memory-fuse"}, "STANDIN_CONTRACT is not set; WORKSPACE_ID is not set; CP_URL is not set"},
		{[]string{"agent"}, "STANDIN_CONTRACT is not set; WORKSPACE_ID is not set"},
		{[]string{"tini", "--"}, "usage: tini"},
		{[]string{"sleep", "long"}, "is no number of seconds"},
	} {
		r := start(t, t.TempDir(), nil, test.args...)
		if code := r.exits(); code == 0 || !strings.Contains(r.output.String(), test.want) {
			t.Errorf("%q ends with %d and says %q, want %q", test.args, code, r.output, test.want)
		}
	}
	if code := start(t, t.TempDir(), nil, "true").exits(); code != 0 {
		t.Errorf("true ends with %d", code)
	}
}

// images.yaml describes every published image that is played, each starting a name that the binary knows.
func TestImages(t *testing.T) {
	described := images(t)
	for _, workload := range slices.Concat(contract.Workloads(), contract.ModuleWorkloads()) {
		if workload.Name == "coturn" {
			// The relay is the real one.
			continue
		}
		if _, found := described[workload.Image]; !found {
			t.Errorf("images.yaml does not describe %s", workload.Image)
		}
		if one := described[workload.Image]; workload.Migrations != "" && one.Files[workload.Migrations] == "" {
			t.Errorf("image %s has no %s", workload.Image, workload.Migrations)
		}
	}
	for _, name := range slices.Concat(platform.AgentTypes, []string{"memoryFuse"}) {
		if _, found := described[name]; !found {
			t.Errorf("images.yaml does not describe %s", name)
		}
	}
	for name, one := range described {
		for _, link := range slices.Sorted(maps.Keys(one.Links)) {
			if _, known := programs()[link[strings.LastIndex(link, "/")+1:]]; !known {
				t.Errorf("image %s: nothing is played under %s", name, link)
			}
		}
		for _, variant := range one.Variants {
			workdir(t, name, variant.Files)
		}
	}
}
