//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
)

// digests is a digest of the rows of each table, whatever version of PostgreSQL has them, without those that the services
// and the hooks write by themselves.
const digests = `SELECT table_schema || '.' || table_name || ' ' || (xpath('//d/text()', query_to_xml(format(
    'SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text)) AS d FROM %I.%I t', table_schema, table_name), false, true, '')))[1]::text
  FROM information_schema.tables
  WHERE table_type = 'BASE TABLE' AND table_schema IN ('public', 'neutree') AND table_schema || '.' || table_name NOT IN
    ('public.environments', 'neutree.owner')
  ORDER BY 1;`

// The data is upgraded to the next major version of PostgreSQL where that is meant, after a backup and while no service
// writes, and refused where only a tag says so.
func TestMajorUpgrade(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })
	r.mustUpgrade(t, "--wait")
	session := r.login(t)
	first, _ := r.createWorkspace(t, session, "before")
	r.sql(t, "SET ROLE nap;"+rows)
	pods, kept := r.podIdentities(t), r.sql(t, digests)

	newer := []string{"--wait", "--set", "global.images.postgresql.tag=18.1"}
	wantRefused(t, r.upgrade(t.Context(), newer...), time.Minute,
		"from major version 17 to 18", "global.upgrade.allowMajorUpgrade=true", "upgrade.database-major")
	if diff := cmp.Diff(pods, r.podIdentities(t)); diff != "" {
		t.Errorf("pods before and after the refusal:\n%s", diff)
	}

	meant := append(newer, "--set", "global.upgrade.allowMajorUpgrade=true")
	// PostgreSQL upgrades no data that has a column of this type.
	r.sql(t, "SET ROLE nap; CREATE TABLE public.stuck (function regproc)")
	wantRefused(t, r.upgrade(t.Context(), meant...), 5*time.Minute,
		"nap-pg-1-major-upgrade", "reg*", "the Cluster is set back to its image", "upgrade.database-major")
	r.waitDeployments(t)
	r.login(t)
	r.sql(t, "DROP TABLE public.stuck")
	if diff := cmp.Diff(kept, r.sql(t, digests)); diff != "" {
		t.Errorf("rows of each table before and after the upgrade that failed:\n%s", diff)
	}

	// A client that is killed leaves the services stopped, and a rollback ends what it had started.
	upgrading, kill := context.WithCancel(t.Context())
	killed := make(chan result, 1)
	go func() { killed <- r.upgrade(upgrading, meant...) }()
	eventually(t, 5*time.Minute, "services are stopped for the upgrade", func(ctx context.Context) (bool, string) {
		cluster, err := r.dynamic.Resource(clusters).Namespace(r.namespace).Get(ctx, "nap-pg", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return cluster.GetAnnotations()["neutree.ai/stopped-services"] != "", "they are not"
	})
	kill()
	<-killed
	r.rollback(t, "1")
	r.waitDeployments(t)
	r.login(t)
	if version := r.sql(t, "SHOW server_version"); !strings.HasPrefix(version, "17") {
		t.Errorf("PostgreSQL is %s after the rollback", version)
	}
	if diff := cmp.Diff(kept, r.sql(t, digests)); diff != "" {
		t.Errorf("rows of each table before and after the upgrade that was rolled back:\n%s", diff)
	}

	// Debian's 17.12 marks columns with an option that its 18.6 does not know.
	for _, database := range []string{"nap", "postgres", "template1"} {
		r.exec(t, "nap-pg-1", "postgres", "", "psql", "--dbname="+database, "--command=UPDATE pg_attribute SET attoptions = NULL "+
			"WHERE attoptions::text LIKE '%pg_attver%'")
	}
	r.mustUpgrade(t, meant...)
	if version := r.sql(t, "SHOW server_version"); !strings.HasPrefix(version, "18") {
		t.Errorf("PostgreSQL is %s", version)
	}
	if diff := cmp.Diff(kept, r.sql(t, digests)); diff != "" {
		t.Errorf("rows of each table before and after:\n%s", diff)
	}
	if analyzed := r.sql(t, "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'session_messages'"); analyzed != "t" {
		t.Error("there are no statistics, so queries are slow")
	}
	var list []backup.Entry
	if err := json.Unmarshal([]byte(r.plugin(t, 0, "", "backup", "list", "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(e backup.Entry) bool { return strings.HasPrefix(e.Name, "before-r") }) {
		t.Errorf("there is no backup of what was before: %v", list)
	}
	r.login(t)
	r.waitWorkspace(t, first.ID)

	// From now on the tag alone says what the data has. The chart's own older one takes nothing back.
	const started = "SELECT current_setting('server_version_num')::int / 10000 || ' since ' || pg_postmaster_start_time()"
	since := r.sql(t, started)
	for _, args := range [][]string{newer, {"--wait"}} {
		r.mustUpgrade(t, args...)
		if now := r.sql(t, started); now != since {
			t.Errorf("%v: PostgreSQL is %s, was %s", args, now, since)
		}
	}
}
