package contract_test

import (
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/test/contract"
)

func TestCouplingsNameRequiredVariables(t *testing.T) {
	sources := map[contract.Member]contract.Source{}
	for _, w := range contract.Workloads() {
		for _, env := range w.Env {
			member := contract.Member{Workload: w.Name, Env: env.Name}
			if _, twice := sources[member]; twice {
				t.Errorf("workload %s lists %s twice", w.Name, env.Name)
			}
			sources[member] = env.From
		}
	}
	for _, coupling := range contract.Couplings() {
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
	if got, want := contract.Connections(), 176; got != want {
		t.Errorf("Connections() = %d, want %d", got, want)
	}
}

func TestFormatCheck(t *testing.T) {
	tests := map[string]struct {
		format contract.Format
		value  string
		want   string // part of the message; empty for a good value
	}{
		"text":                   {contract.Text, "x", ""},
		"empty text":             {contract.Text, "", "is empty"},
		"empty where allowed":    {contract.Any, "", ""},
		"URL":                    {contract.URL, "http://nap-cp.nap.svc:3000", ""},
		"URL without scheme":     {contract.URL, "nap-cp:3000", "no http or https URL"},
		"URL with slash":         {contract.URL, "http://nap-cp/", "ends in a slash"},
		"files URL":              {contract.FilesURL, "https://files.example.org", ""},
		"files URL, wrong host":  {contract.FilesURL, "https://example.org", `must start with "files."`},
		"address":                {contract.HostPort, "afs-controller.nap.svc:9100", ""},
		"address with scheme":    {contract.HostPort, "http://afs-controller:9100", "is not host:port"},
		"address without port":   {contract.HostPort, "afs-controller", "is not host:port"},
		"address, port too high": {contract.HostPort, "afs-controller:91000", "is not host:port"},
		"quantity":               {contract.Quantity, "10Gi", ""},
		"quantity, unknown unit": {contract.Quantity, "10GB", "no amount of storage"},
		"quantity zero":          {contract.Quantity, "0", "no amount of storage"},
		"true":                   {contract.True, "true", ""},
		"not true":               {contract.True, "yes", "is not true"},
		"image":                  {contract.ImageRef, "ghcr.io/neutree-ai/afs:latest", ""},
		"image by digest":        {contract.ImageRef, "localhost:5000/afs@sha256:00", ""},
		"image without registry": {contract.ImageRef, "afs:latest", "names no registry"},
		"image without tag":      {contract.ImageRef, "ghcr.io/neutree-ai/afs", "neither a tag nor a digest"},
		"prefix":                 {contract.ImagePrefix, "localhost:5000/nap-agent", ""},
		"prefix with tag":        {contract.ImagePrefix, "ghcr.io/nap-agent:v1", "has a tag"},
		"database":               {contract.PostgresURL, "postgresql://nap:p%40ss@nap-pg-rw:5432/nap", ""},
		"database, raw password": {contract.PostgresURL, "postgresql://nap:p#a/ss@nap-pg-rw:5432/nap", "no PostgreSQL URL"},
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
	err := contract.PostgresURL.Check("mysql://nap:hunter2@db/nap")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Check = %v, want an error that does not hold the password", err)
	}
}
