package report_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/report"
)

// A server may echo what it was sent. Whatever a check makes of that, no format shows it.
func TestNoFormatShowsASecret(t *testing.T) {
	const planted = `pl@nted "secret"/42`
	encoded := base64.StdEncoding.EncodeToString([]byte(planted))
	forms := []string{planted, encoded, url.QueryEscape(planted), url.UserPassword("", planted).String()[1:], `pl@nted \"secret\"/42`}
	server := kubetest.New(t, "{apiVersion: v1, kind: Secret, metadata: {name: reader, namespace: nap}, data: {username: cmVhZGVy, password: "+encoded+"}}")
	view, err := cluster.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := view.Secret(t.Context(), "nap", "reader"); err != nil {
		t.Fatal(err)
	}
	leak := strings.Join(forms, " ")
	checks := []preflight.Check{
		{ID: "ldap.bind", Title: "The directory answers", Severity: preflight.Error, Run: func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return []preflight.Finding{{Object: leak, Node: leak, Value: leak, Found: "reader is refused with " + leak, Why: leak, Fix: leak}}, nil
		}},
		{ID: "ldap.search", Title: "The directory finds users", Severity: preflight.Error, Run: func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
			return nil, errors.New("connect to ldap://reader:" + leak)
		}},
		{ID: "ldap.off", Title: "Nothing to do", Severity: preflight.Error, Applies: func(*preflight.Subject) (bool, string) { return false, leak }},
	}
	for _, format := range []string{"text", "json", "junit", "sarif", "go-template={{range .results}}{{.findings}} {{.reason}}{{end}}"} {
		var out bytes.Buffer
		r, err := report.New(format, &out, subject, report.Look{})
		if err != nil {
			t.Fatal(err)
		}
		preflight.Run(t.Context(), &preflight.Subject{Hide: view.Hide}, checks, r)
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, form := range forms {
			if strings.Contains(out.String(), form) {
				t.Errorf("%s shows %q:\n%s", format, form, out.String())
			}
		}
		if !strings.Contains(out.String(), "***") || !strings.Contains(out.String(), "reader is refused") {
			t.Errorf("%s lost more than the secret:\n%s", format, out.String())
		}
	}
}
