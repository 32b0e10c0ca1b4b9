// Package ldap proves that users can log in by the directory, with a bind, a search and a look at the attributes.
package ldap

import (
	"context"
	"fmt"

	"github.com/neutree-ai/packaging/internal/preflight"
)

// Checks are the topic's checks.
func Checks() []preflight.Check {
	return []preflight.Check{{
		ID: "ldap.bind", Title: "The directory lets the platform search, and its users have the attributes",
		Needs: preflight.Cluster | preflight.Outside, Severity: preflight.Error,
		Applies: func(s *preflight.Subject) (bool, string) {
			return s.Requirements.Directory != nil, "log-in by a directory is off (global.modules.ldap.enabled)"
		},
		Run: run,
	}}
}

func run(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	d := s.Requirements.Directory
	read := func(name, key, value string) (string, []preflight.Finding, error) {
		if name == "" {
			return "", nil, nil
		}
		secret, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, name)
		if err != nil {
			return "", nil, fmt.Errorf("read Secret %s: %w", name, err)
		}
		if secret == nil || len(secret.Data[key]) == 0 {
			return "", []preflight.Finding{{
				Object: fmt.Sprintf("Secret %s/%s", s.Requirements.Namespace, name), Value: value,
				Found: fmt.Sprintf("there is no such Secret with the key %s", key), Why: "the control plane does not start without it",
				Fix: "make it before the install, in the release's namespace",
			}}, nil
		}
		return string(secret.Data[key]), nil, nil
	}
	password, findings, err := read(d.Secret, d.SecretKey, "global.ldap.existingSecret")
	if err != nil || findings != nil {
		return findings, err
	}
	ca, findings, err := read(d.CASecret, d.CAKey, "global.trustedCAs.existingSecret")
	if err != nil || findings != nil {
		return findings, err
	}
	return Try(ctx, *d, password, ca), nil
}
