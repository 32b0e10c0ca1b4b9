//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// openDatabase lets the test in to the primary and returns the URL under which it can be reached from here.
func (r *release) openDatabase(t testing.TB) string {
	t.Helper()
	labels := map[string]string{"cnpg.io/cluster": "nap-pg", "cnpg.io/instanceRole": "primary"}
	meta := metav1.ObjectMeta{Name: "test-database"}
	service, err := r.client.CoreV1().Services(r.namespace).Create(t.Context(), &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 5432}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.client.NetworkingV1().NetworkPolicies(r.namespace).Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: labels},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), "nap-pg-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := url.URL{
		Scheme: "postgresql", Path: "/nap", RawQuery: "connect_timeout=2",
		User: url.UserPassword(string(user.Data["username"]), string(user.Data["password"])),
		Host: net.JoinHostPort(r.nodeIP, fmt.Sprint(service.Spec.Ports[0].NodePort)),
	}
	return address.String()
}

// closeDatabase takes back what openDatabase made.
func (r *release) closeDatabase(t testing.TB) {
	t.Helper()
	err := errors.Join(
		r.client.CoreV1().Services(r.namespace).Delete(t.Context(), "test-database", metav1.DeleteOptions{}),
		r.client.NetworkingV1().NetworkPolicies(r.namespace).Delete(t.Context(), "test-database", metav1.DeleteOptions{}))
	if err != nil {
		t.Fatal(err)
	}
}

// query waits until the database answers and returns the one column that sql selects.
func query(t testing.TB, databaseURL, sql string) []string {
	t.Helper()
	var got []string
	eventually(t, 2*time.Minute, "the database answers", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, databaseURL)
		if err != nil {
			return false, "no connection"
		}
		defer conn.Close(ctx)
		rows, err := conn.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return false, err.Error()
		}
		got, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err == nil, fmt.Sprint(err)
	})
	return got
}

// schemaOf describes everything that migrations make, the ledgers and the rows of the workspaces included, one line
// each and in order.
func schemaOf(t testing.TB, databaseURL string) string {
	t.Helper()
	const described = `
WITH ours AS (SELECT oid, nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' AND nspname NOT IN ('information_schema', 'neutree'))
SELECT line FROM (
  SELECT format('column %s.%s.%s %s %s %s', table_schema, table_name, column_name, udt_name, is_nullable, column_default) AS line
    FROM information_schema.columns WHERE table_schema IN (SELECT nspname FROM ours)
  UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname IN (SELECT nspname FROM ours)
  UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
  UNION ALL SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname IN (SELECT nspname FROM ours)
  UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE prokind = 'f' AND pronamespace IN (SELECT oid FROM ours)
  UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'enum ' || typname || ' ' || string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum JOIN pg_type t ON t.oid = enumtypid GROUP BY typname
  UNION ALL SELECT 'ledger ' || id FROM public.schema_migrations
  UNION ALL SELECT 'workspace ' || id || ' ' || name FROM public.workspaces
) all_lines ORDER BY line`
	return strings.Join(query(t, databaseURL, described), "\n")
}

// forgetNewer takes back what the migrations of the control plane's v0.3.0 make that the chart's default image does not
// have, so that an upgrade to it applies them again. Only sets of migrations that are named stay recorded.
func forgetNewer(t testing.TB, databaseURL string, sets []string) {
	t.Helper()
	query(t, databaseURL, `
DROP VIEW IF EXISTS workspace_event_counts;
DROP TRIGGER IF EXISTS touch_workspace_budget ON workspaces;
DROP FUNCTION IF EXISTS touch_workspace_budget();
DROP TABLE IF EXISTS workspace_labels, workspace_events, workspace_budgets, session_activity, plugin_settings;
DROP TYPE IF EXISTS workspace_event_kind;
ALTER TABLE workspaces DROP COLUMN IF EXISTS note;
DELETE FROM schema_migrations WHERE id ~ '^1(2[89]|3[0-9]|4[01])_';
DELETE FROM neutree.migration_sets WHERE set_hash <> ALL ('{`+strings.Join(sets, ",")+`}');
SELECT 'done'`)
}

// lockTable holds a table of the database until the function that it returns is called.
func lockTable(t *testing.T, database, table string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = conn.Close(context.WithoutCancel(t.Context())) }
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+table, pgx.QueryExecModeSimpleProtocol); err != nil {
		release()
		t.Fatal(err)
	}
	return release
}
