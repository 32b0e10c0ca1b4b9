package platform_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/platform"
)

func TestEveryWorkloadNamesAnImage(t *testing.T) {
	keys := map[string]bool{}
	for _, image := range platform.Images() {
		keys[image.Key] = true
	}
	for _, w := range platform.Workloads() {
		if !keys[w.Image] {
			t.Errorf("workload %s: no image has the key %q", w.Name, w.Image)
		}
	}
}

func TestFullName(t *testing.T) {
	var names []string
	for _, w := range platform.Workloads() {
		names = append(names, w.FullName("acme"))
	}
	want := []string{"acme-cp", "acme-cg", "acme-skills", "acme-office-converter", "afs-controller", "acme-env-runner-k8s", "acme-scheduler"}
	if !slices.Equal(names, want) {
		t.Errorf("names under the prefix acme = %v, want %v", names, want)
	}
}

func TestCouplingsNameRequiredVariables(t *testing.T) {
	sources := map[platform.Member]platform.Source{}
	for _, w := range platform.Workloads() {
		for _, env := range w.Env {
			member := platform.Member{Workload: w.Name, Env: env.Name}
			if _, twice := sources[member]; twice {
				t.Errorf("workload %s lists %s twice", w.Name, env.Name)
			}
			sources[member] = env.From
		}
	}
	for _, coupling := range platform.Couplings() {
		for _, member := range coupling.Members {
			from, found := sources[member]
			if !found {
				t.Errorf("coupling of %s: workload %s does not require it", member.Env, member.Workload)
			}
			if first := sources[coupling.Members[0]]; from != first {
				t.Errorf("coupling of %s: %s takes it from source %d, %s from %d", member.Env,
					member.Workload, from, coupling.Members[0].Workload, first)
			}
		}
	}
}

func TestConnectionsCountOverlappingPods(t *testing.T) {
	// 35 (cp) + 10 (cg) + 8 (skills) twice, 20 (runner) + 50 (scheduler) once.
	if got, want := platform.Connections(), 176; got != want {
		t.Errorf("Connections() = %d, want %d", got, want)
	}
}

func TestFormatCheck(t *testing.T) {
	tests := map[string]struct {
		format platform.Format
		value  string
		want   string // part of the message; empty for a good value
	}{
		"text":                   {platform.Text, "x", ""},
		"empty text":             {platform.Text, "", "is empty"},
		"empty where allowed":    {platform.Any, "", ""},
		"URL":                    {platform.URL, "http://nap-cp.nap.svc:3000", ""},
		"URL without scheme":     {platform.URL, "nap-cp:3000", "no http or https URL"},
		"URL with slash":         {platform.URL, "http://nap-cp/", "ends in a slash"},
		"files URL":              {platform.FilesURL, "https://files.example.org", ""},
		"files URL, wrong host":  {platform.FilesURL, "https://example.org", `must start with "files."`},
		"address":                {platform.HostPort, "afs-controller.nap.svc:9100", ""},
		"address with scheme":    {platform.HostPort, "http://afs-controller:9100", "is not host:port"},
		"address without port":   {platform.HostPort, "afs-controller", "is not host:port"},
		"address, port too high": {platform.HostPort, "afs-controller:91000", "is not host:port"},
		"quantity":               {platform.Quantity, "10Gi", ""},
		"quantity, unknown unit": {platform.Quantity, "10GB", "no amount of storage"},
		"quantity zero":          {platform.Quantity, "0", "no amount of storage"},
		"true":                   {platform.True, "true", ""},
		"not true":               {platform.True, "yes", "is not true"},
		"image":                  {platform.ImageRef, "ghcr.io/neutree-ai/afs:latest", ""},
		"image by digest":        {platform.ImageRef, "localhost:5000/afs@sha256:00", ""},
		"image without registry": {platform.ImageRef, "afs:latest", "names no registry"},
		"image without tag":      {platform.ImageRef, "ghcr.io/neutree-ai/afs", "neither a tag nor a digest"},
		"prefix":                 {platform.ImagePrefix, "localhost:5000/nap-agent", ""},
		"prefix with tag":        {platform.ImagePrefix, "ghcr.io/nap-agent:v1", "has a tag"},
		"database":               {platform.PostgresURL, "postgresql://nap:p%40ss@nap-pg-rw:5432/nap", ""},
		"database, raw password": {platform.PostgresURL, "postgresql://nap:p#a/ss@nap-pg-rw:5432/nap", "no PostgreSQL URL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.format.Check(test.value)
			if test.want == "" && err != nil {
				t.Errorf("Check(%q) = %v, want no error", test.value, err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Check(%q) = %v, want an error with %q", test.value, err, test.want)
			}
		})
	}
}

func TestPostgresURLMessageHidesTheValue(t *testing.T) {
	err := platform.PostgresURL.Check("mysql://nap:hunter2@db/nap")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Check = %v, want an error that does not hold the password", err)
	}
}
