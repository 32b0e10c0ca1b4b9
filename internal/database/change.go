package database

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
)

const (
	// setBackTime bounds setting a Cluster back.
	setBackTime = 30 * time.Second
	// actTime is how long the operator may take until a change shows. Some changes never do.
	actTime = 20 * time.Second
)

// The phases of a Cluster, in the operator's words, in which its instances are as they are meant to be. A new standby
// copies the database for as long as that takes, and nothing waits for it.
var settledPhases = []string{"Cluster in healthy state", "Creating a new replica"}

// recreating are the fields of a Cluster's spec whose change replaces its pods.
var recreating = []string{
	"affinity", "env", "envFrom", "imageName", "imagePullPolicy", "imagePullSecrets", "plugins", "priorityClassName",
	"probes", "projectedVolumeTemplate", "resources", "schedulerName", "topologySpreadConstraints",
}

// configuring are the fields below postgresql whose change makes the operator write another configuration.
var configuring = []string{"parameters", "shared_preload_libraries", "synchronous"}

// Change is what a manifest would change of a Cluster that runs.
type Change struct {
	// Fields are those of the Cluster that differ, such as "resources", sorted. Parameters are the settings of
	// PostgreSQL among them.
	Fields, Parameters []string

	manifest, before *unstructured.Unstructured
}

// Empty says that the Cluster is as the manifest wants it.
func (c *Change) Empty() bool { return len(c.Fields) == 0 }

// String names what differs.
func (c *Change) String() string {
	var words []string
	for _, field := range c.Fields {
		if field == "postgresql.parameters" {
			field += " (" + strings.Join(c.Parameters, ", ") + ")"
		}
		words = append(words, field)
	}
	return strings.Join(words, ", ")
}

// replacesPods says whether the pods of PostgreSQL will be replaced.
func (c *Change) replacesPods() bool {
	return slices.ContainsFunc(c.Fields, func(field string) bool { return slices.Contains(recreating, field) })
}

// configures says whether PostgreSQL will read another configuration.
func (c *Change) configures() bool {
	return slices.ContainsFunc(c.Fields, func(field string) bool {
		name, ok := strings.CutPrefix(field, "postgresql.")
		return ok && slices.Contains(configuring, name)
	})
}

// Compare asks the operator what manifest would change of the Cluster, which must exist. The error has the code
// hook.Deadline where the operator does not answer until ctx ends.
func (c *Cluster) Compare(ctx context.Context, manifest *unstructured.Unstructured) (*Change, error) {
	change := &Change{}
	err := hook.Poll(ctx, c.log, c.admitted(), func(ctx context.Context) (bool, string, error) {
		live, err := c.client.Resource(kube.Clusters, c.namespace).Get(ctx, c.name, metav1.GetOptions{})
		if err != nil {
			return wait(err)
		}
		desired, _, err := c.desired(manifest, live)
		if err != nil {
			return false, "", err
		}
		after, err := c.client.Apply(ctx, kube.Clusters, c.namespace, desired, true)
		if err != nil {
			switch {
			case olderCRD(err):
				return false, "", hook.Errorf(hook.Deadline,
					"the operator that is installed is older than the manifest: %s", kube.Brief(err))
			case kube.NoDryRun(err):
				return false, "", hook.Errorf(hook.Deadline, "the Cluster can't be tried: %s", kube.Brief(err))
			}
			return c.admission(ctx, err)
		}
		change = compare(live, after)
		change.manifest = manifest
		return true, "", nil
	})
	return change, err
}

// admitted is what an apply waits for.
func (c *Cluster) admitted() string { return "the CloudNativePG operator to admit Cluster " + c.name }

// olderCRD says whether a Cluster has fields that the operator which is installed does not know yet.
func olderCRD(err error) bool { return strings.Contains(err.Error(), "field not declared in schema") }

// compare finds what differs between two versions of a Cluster.
func compare(before, after *unstructured.Unstructured) *Change {
	change := &Change{before: before}
	was, _, _ := unstructured.NestedMap(before.Object, "spec")
	is, _, _ := unstructured.NestedMap(after.Object, "spec")
	for _, field := range differing(was, is) {
		if field != "postgresql" {
			change.Fields = append(change.Fields, field)
			continue
		}
		wasPostgres, _ := was[field].(map[string]any)
		isPostgres, _ := is[field].(map[string]any)
		for _, name := range differing(wasPostgres, isPostgres) {
			change.Fields = append(change.Fields, field+"."+name)
			if name == "parameters" {
				wasParameters, _ := wasPostgres[name].(map[string]any)
				isParameters, _ := isPostgres[name].(map[string]any)
				change.Parameters = differing(wasParameters, isParameters)
			}
		}
	}
	if !reflect.DeepEqual(before.GetLabels(), after.GetLabels()) {
		change.Fields = append(change.Fields, "labels")
	}
	if !reflect.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) {
		change.Fields = append(change.Fields, "annotations")
	}
	return change
}

// differing are the keys under which two maps differ, sorted.
func differing(a, b map[string]any) []string {
	keys := maps.Clone(a)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, b)
	var names []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !reflect.DeepEqual(a[key], b[key]) {
			names = append(names, key)
		}
	}
	return names
}

// restartPhases are those in which the operator restarts PostgreSQL because of an earlier change.
var restartPhases = []string{
	"Applying configuration", "Online upgrade in progress", "Primary instance is being restarted in-place",
	"Primary instance is being restarted without a switchover", "Switchover in progress", "Upgrading cluster",
}

// Changing brings a Cluster that runs to what was compared.
type Changing struct {
	Cluster *Cluster
	// URL is where its primary answers.
	URL string
	// Patience bounds the change; 0 means five minutes.
	Patience time.Duration
	// ActTime is how long the operator may take until it acts; 0 means 20 seconds.
	ActTime time.Duration
	// Forward leaves a Cluster as the change made it when PostgreSQL does not come up: the same is applied again later.
	Forward bool
}

// running is what PostgreSQL says of itself.
type running struct {
	// config identifies the configuration that the operator wrote, and the server has read.
	config string
	// pending are the settings that need a restart to take effect.
	pending []string
}

// Run applies the change and waits until PostgreSQL runs with it. It returns a sentence on what that took, or nothing
// where there was nothing to do. Where PostgreSQL does not come up, the Cluster is set back to what it was, unless
// Forward is set.
func (c *Changing) Run(ctx context.Context, change *Change) (string, error) {
	cluster := c.Cluster
	bounded, cancel := context.WithTimeout(ctx, cmp.Or(c.Patience, 5*time.Minute))
	defer cancel()
	before, err := c.ask(bounded)
	if err != nil {
		return "", fmt.Errorf("ask PostgreSQL what it runs with: %s", migrate.Reason(err))
	}
	if change.Empty() {
		return "", c.finish(bounded, change, before)
	}
	restarts, err := c.announce(bounded, change)
	if err != nil {
		return "", err
	}
	pods, err := cluster.runningPods(bounded)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err = cluster.Apply(bounded, change.manifest); err == nil {
		err = c.settle(bounded, change, before, pods)
	}
	switch took := time.Since(start).Round(time.Second); {
	case err != nil && hook.CodeOf(err) == hook.Deadline && !c.Forward:
		return "", c.setBack(ctx, change, err)
	case err != nil:
		return "", err
	case restarts:
		cluster.log.Info("PostgreSQL runs with its new values", "cluster", cluster.name, "took", took.String())
		return fmt.Sprintf("PostgreSQL was restarted with its new values (%s) in %s", change, took), nil
	default:
		return fmt.Sprintf("the database has its new values (%s)", change), nil
	}
}

// finish waits for a restart that an earlier run has caused and was cut off in. One that does not end is no reason to
// stop an upgrade that changes nothing of the database.
func (c *Changing) finish(ctx context.Context, change *Change, now running) error {
	phase, _, _ := unstructured.NestedString(change.before.Object, "status", "phase")
	if len(now.pending) == 0 && !slices.Contains(restartPhases, phase) {
		return nil
	}
	change.before = change.before.DeepCopy()
	unstructured.RemoveNestedField(change.before.Object, "status")
	err := c.settle(ctx, change, now, nil)
	if hook.CodeOf(err) == hook.Deadline {
		c.Cluster.log.Warn("the upgrade continues, though the database has not settled", "cause", err.Error())
		return nil
	}
	return err
}

// announce says beforehand what the change restarts, and whether it does.
func (c *Changing) announce(ctx context.Context, change *Change) (restarts bool, err error) {
	var settings []string
	err = c.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM pg_settings
			WHERE context = 'postmaster' AND name = ANY($1::text[])`, change.Parameters).Scan(&settings)
	})
	if err != nil {
		return false, fmt.Errorf("ask PostgreSQL which settings need a restart: %s", migrate.Reason(err))
	}
	log := c.Cluster.log.With("cluster", c.Cluster.name, "changed", change.String())
	const gap = "now, before any service is replaced: with one instance, requests wait or fail until it is back"
	switch {
	case len(settings) > 0:
		log.Warn("PostgreSQL restarts "+gap, "settings", strings.Join(settings, ", "))
	case change.replacesPods():
		log.Warn("the pods of PostgreSQL are replaced " + gap)
	default:
		log.Info("the database gets new values, which need no restart")
	}
	return len(settings) > 0 || change.replacesPods(), nil
}

// settle waits until PostgreSQL runs with the change. pods are those that ran before it.
func (c *Changing) settle(ctx context.Context, change *Change, before running, pods []string) error {
	acts := time.Now().Add(cmp.Or(c.ActTime, actTime))
	phase, _, _ := unstructured.NestedString(change.before.Object, "status", "phase")
	settled := append(slices.Clone(settledPhases), phase)
	cluster := c.Cluster
	const what = "PostgreSQL to run with its new values"
	return hook.Poll(ctx, cluster.log, what, func(ctx context.Context) (bool, string, error) {
		now, err := c.ask(ctx)
		if err != nil {
			missing := migrate.Reason(err)
			if trouble := cluster.Trouble(ctx); trouble != "" {
				missing = trouble + "; connecting: " + missing
			}
			return false, missing, nil
		}
		if len(now.pending) > 0 {
			return false, "it must restart for " + strings.Join(now.pending, ", "), nil
		}
		live, err := cluster.client.Resource(kube.Clusters, cluster.namespace).Get(ctx, cluster.name, metav1.GetOptions{})
		if err != nil {
			return wait(err)
		}
		if is, _, _ := unstructured.NestedString(live.Object, "status", "phase"); !slices.Contains(settled, is) {
			return false, phaseOf(live), nil
		}
		left, err := cluster.runningPods(ctx)
		if err != nil {
			return wait(err)
		}
		acted := (!change.configures() || now.config != before.config) &&
			(!change.replacesPods() || !slices.ContainsFunc(left, func(pod string) bool { return slices.Contains(pods, pod) }))
		if !acted && time.Now().Before(acts) {
			return false, "the operator has not acted on the change yet", nil
		}
		return true, "", nil
	})
}

// setBack gives a Cluster whose change failed the values that it had, so that the services which run have their
// database, and returns why.
func (c *Changing) setBack(ctx context.Context, change *Change, cause error) error {
	cluster := c.Cluster
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setBackTime)
	defer cancel()
	why := "the Cluster is set back to the values that it had, no service was replaced, and the previous version is " +
		"still running"
	if err := cluster.put(ctx, change.before); err != nil {
		why = fmt.Sprintf("no service was replaced, but the Cluster could not be set back: %v", err)
	} else {
		cluster.log.Warn("the Cluster is set back to the values that it had", "cluster", cluster.name)
	}
	return hook.Refuse(finding.Finding{
		ID: finding.UpgradeDatabaseChange, Severity: finding.Error, Value: "global.database",
		Object: fmt.Sprintf("Cluster %s/%s", cluster.namespace, cluster.name),
		Found:  fmt.Sprintf("PostgreSQL does not run with its new values (%s): %v", change, cause),
		Why:    why, Fix: "fix the values below global.database and upgrade again",
	})
}

// ask asks the primary for its state.
func (c *Changing) ask(ctx context.Context) (running, error) {
	var s running
	return s, c.query(ctx, func(conn *pgx.Conn) error {
		var standby bool
		err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), coalesce(current_setting('cnpg.config_sha256', true), ''),
			(SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM pg_settings WHERE pending_restart)`).
			Scan(&standby, &s.config, &s.pending)
		if err == nil && standby {
			return errStandby
		}
		return err
	})
}

// query runs do on a session of its own: a server that restarts ends those that were open.
func (c *Changing) query(ctx context.Context, do func(*pgx.Conn) error) error {
	config, err := migrate.Config(c.URL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer migrate.Close(ctx, conn)
	return do(conn)
}

// runningPods identifies the pods that run PostgreSQL.
func (c *Cluster) runningPods(ctx context.Context) ([]string, error) {
	pods, err := c.client.ListMetadata(ctx, kube.Pods, c.namespace,
		metav1.ListOptions{LabelSelector: clusterLabel + "=" + c.name + instances})
	if err != nil {
		return nil, fmt.Errorf("list the pods of Cluster %s: %w", c.name, err)
	}
	names := make([]string, len(pods))
	for i, pod := range pods {
		names[i] = pod.Name + " " + string(pod.UID)
	}
	return names, nil
}

// put applies a version that the Cluster had.
func (c *Cluster) put(ctx context.Context, version *unstructured.Unstructured) error {
	desired := &unstructured.Unstructured{Object: map[string]any{"spec": version.Object["spec"]}}
	desired.SetAPIVersion(version.GetAPIVersion())
	desired.SetKind(version.GetKind())
	desired.SetName(c.name)
	desired.SetNamespace(c.namespace)
	desired.SetLabels(version.GetLabels())
	desired.SetAnnotations(version.GetAnnotations())
	return hook.Poll(ctx, c.log, c.admitted(), func(ctx context.Context) (bool, string, error) {
		if _, err := c.client.Apply(ctx, kube.Clusters, c.namespace, desired, false); err != nil {
			return c.admission(ctx, err)
		}
		return true, "", nil
	})
}
