package examine_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

var mine = migrate.Owner{Release: "neutree", Namespace: "nap", Cluster: "uid-1"}

func TestEveryReasonIsNamedAtOnce(t *testing.T) {
	url := pgtest.Start(t)
	if err := migrate.RecordKey(t.Context(), url, "the-first-key"); err != nil {
		t.Fatal(err)
	}
	if err := migrate.Claim(t.Context(), url, migrate.Owner{Release: "other", Namespace: "elsewhere"}, ""); err != nil {
		t.Fatal(err)
	}
	db, err := examine.Read(t.Context(), url, []hook.Migration{{Source: "control-plane", Set: "set-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !db.HoldsData() || db.Server < migrate.OldestServer {
		t.Errorf("it says %+v", db)
	}
	db.Ahead, db.Server = []string{"public.schema_migrations 201_newer"}, 12
	release := examine.Release{Owner: mine, Key: examine.Key{Secret: "keys", Name: "KEY", Value: "another-key"}}
	findings, err := examine.Judge(t.Context(), db, release)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"database.owner", "upgrade.encryption-key", "upgrade.older-images", "database.server"}
	if !slices.Equal(finding.List(findings).IDs(), want) {
		t.Errorf("findings %v, want %v", finding.List(findings).IDs(), want)
	}
	for _, words := range []string{"belongs to release other in namespace elsewhere",
		"Secret keys in namespace nap holds another KEY",
		"201_newer", "runs PostgreSQL 12, and the platform needs 13 or newer"} {
		if !strings.Contains(finding.List(findings).Error(), words) {
			t.Errorf("the findings do not say %q: %v", words, finding.List(findings))
		}
	}
	release.Allow = hook.GateOverrides{OlderImages: true, SecretChanges: true, AdoptDatabase: "elsewhere/other"}
	if findings, err = examine.Judge(t.Context(), db, release); err != nil || len(findings) != 1 ||
		findings[0].ID != finding.DatabaseServer {
		t.Errorf("after every decision: %v, %v", findings, err)
	}
}

func TestImagesThatRunAreNoStepBack(t *testing.T) {
	db := examine.Database{Asked: true, Standing: migrate.Standing{Ahead: []string{"public.schema_migrations channel_9",
		"public.schema_migrations 201"}, Server: 17}}
	release := examine.Release{Owner: mine, New: func(context.Context, examine.Database) ([]string,
		error) {
		return []string{"gateway"}, nil
	}}
	findings, err := examine.Judge(t.Context(), db, release)
	if err != nil || len(findings) != 1 || strings.Contains(findings[0].Found, "201") ||
		!strings.Contains(findings[0].Found, "channel_9") {
		t.Errorf("%v, %v", findings, err)
	}
	release.New = func(context.Context, examine.Database) ([]string, error) { return nil, errors.New("not readable") }
	if _, err := examine.Judge(t.Context(), db, release); err == nil {
		t.Error("what could not be read passes")
	}
}

// A database that is stopped holds data, and says nothing more.
func TestADatabaseThatCanNotBeAsked(t *testing.T) {
	release := examine.Release{Owner: mine, Key: examine.Key{Secret: "keys", Name: "KEY", Value: "any"}}
	if findings, err := examine.Judge(t.Context(), examine.Database{}, release); err != nil || len(findings) > 0 {
		t.Errorf("%v, %v", findings, err)
	}
	release.Key.Value = ""
	if findings, err := examine.Judge(t.Context(), examine.Database{}, release); err != nil || len(findings) != 1 {
		t.Errorf("%v, %v", findings, err)
	}
}

func TestOwner(t *testing.T) {
	server := kubetest.New(t)
	owner := func() migrate.Owner {
		t.Helper()
		owner, err := examine.Owner(t.Context(), server.Client(), "nap", "neutree")
		if err != nil {
			t.Fatal(err)
		}
		return owner
	}
	if got := owner(); got != (migrate.Owner{Release: "neutree", Namespace: "nap"}) {
		t.Errorf("without the namespace: %v", got)
	}
	server.Put("apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system, uid: uid-1}\n")
	if got := owner(); got != mine {
		t.Errorf("%v, want %v", got, mine)
	}
	server.Refuse(-1, "GET", "/api/v1/namespaces/kube-system", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden, "no"))
	if got := owner(); got.Cluster != "" || !got.Is(mine) {
		t.Errorf("without the right to read it: %v", got)
	}
}
