// Package database proves that a database from outside will do, from where the services would run.
package database

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/onnodes"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are the topic's checks.
func Checks() []preflight.Check {
	return []preflight.Check{{
		ID: "database.external", Title: "The database takes the role, and the role may do what the platform does",
		Needs: preflight.Cluster | preflight.Pods, Severity: preflight.Error,
		Applies: func(s *preflight.Subject) (bool, string) {
			return s.Requirements.Database.Mode == "external", "the database is CloudNativePG's (global.database.mode)"
		},
		Run: run,
	}}
}

func run(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	set := s.Requirements
	secret, err := s.Cluster.Secret(ctx, set.Namespace, set.Database.External.Secret)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", set.Database.External.Secret, err)
	}
	if secret == nil {
		return []preflight.Finding{{
			Object: fmt.Sprintf("Secret %s/%s", set.Namespace, set.Database.External.Secret), Value: "global.database.external.existingSecret",
			Found: "the Secret with the database's login does not exist", Why: "no service starts without it",
			Fix: "make it before the install, in the release's namespace",
		}}, nil
	}
	pod := podFor(set)
	pod.Namespace, err = s.Probes.Namespace(ctx, set.Namespace, probe.Restricted)
	if err != nil {
		return nil, err
	}
	outcome, err := s.Probes.Run(ctx, pod)
	if err != nil {
		return onnodes.NotProved(err)
	}
	return Judge(&set.Database, outcome.Results["database"]), nil
}

const caDir = "/database-ca"

// podFor gives the probe the login as the services get theirs: no password passes through here.
func podFor(set *requirement.Set) probe.Pod {
	db := set.Database
	task := &agent.Database{Host: db.External.Host, Port: db.External.Port, Name: db.Name, Mode: db.External.SSLMode}
	container := probe.Container{Name: "probe"}
	from := func(variable, key string) {
		container.Env = append(container.Env, corev1.EnvVar{Name: variable, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: db.External.Secret}, Key: key,
		}}})
	}
	if db.External.URLKey != "" {
		task = &agent.Database{Variable: "DATABASE_URL"}
		from("DATABASE_URL", db.External.URLKey)
	} else {
		task.User, task.Password = "DATABASE_USER", "DATABASE_PASSWORD"
		from(task.User, db.External.UserKey)
		from(task.Password, db.External.PassKey)
	}
	spec := onnodes.Service(set, "Deployment "+set.Prefix+"-cp")
	pod := probe.Pod{Purpose: "database", NodeSelector: spec.NodeSelector, Tolerations: spec.Tolerations, Affinity: spec.Affinity}
	if db.External.CASecret != "" {
		task.RootCert = caDir + "/ca.crt"
		pod.Volumes = []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: db.External.CASecret, Items: []corev1.KeyToPath{{Key: db.External.CAKey, Path: "ca.crt"}},
		}}}}
		container.Mounts = []corev1.VolumeMount{{Name: "ca", MountPath: caDir, ReadOnly: true}}
	}
	container.Tasks = []agent.Task{{ID: "database", Database: task}}
	pod.Containers = []probe.Container{container}
	return pod
}

const (
	oldest = 130000
	// spare is what the seeds and whoever looks in take beside the services.
	spare = 5
)

// Judge tells what of a database's facts will not do.
func Judge(db *requirement.Database, result agent.Result) []preflight.Finding {
	object := "database " + db.Name
	if db.External.Host != "" {
		object += " on " + db.External.Host
	}
	const value = "global.database.external"
	if !result.OK() {
		return []preflight.Finding{{
			Object: object, Value: value, Found: "no session could be opened: " + result.Error, Why: "no service starts without its database",
			Fix: "correct address, sslmode and the login in its Secret; let the cluster's nodes in (pg_hba.conf, firewalls)",
		}}
	}
	facts := result.Facts
	number := func(name string) int {
		n, err := strconv.Atoi(facts[name])
		if err != nil {
			return -1
		}
		return n
	}
	var findings []preflight.Finding
	add := func(severity preflight.Severity, cause, why, fix string) {
		findings = append(findings, preflight.Finding{Object: object, Value: value, Severity: severity, Found: cause, Why: why, Fix: fix})
	}
	if version := number(agent.DatabaseVersion); version < oldest {
		add(preflight.Error, fmt.Sprintf("it is PostgreSQL %d", version/10000), "the job queue and trusted extensions take 13 or newer", "upgrade it to 13 or newer; 16 is what the platform is tested with")
	}
	if facts[agent.DatabaseStandby] == "true" {
		add(preflight.Error, "it is a standby", "it takes no writes", "name the primary as host")
	}
	if facts[agent.DatabaseCreate] != "true" {
		add(preflight.Error, "the role may not create schemas in it", "migrations make the schemas channel, browser, sandbox and pgboss",
			fmt.Sprintf("ALTER DATABASE %q OWNER TO the role", db.Name))
	}
	if facts[agent.DatabasePublic] != "true" {
		add(preflight.Error, "the role may not create tables in its schema public", "most tables are made there", "GRANT CREATE, USAGE ON SCHEMA public TO the role")
	}
	if n := number(agent.DatabaseForeign); n > 0 {
		add(preflight.Error, fmt.Sprintf("%d tables, views or sequences of the platform's schemas belong to another role", n),
			"migrations alter and reindex them, and the scheduler refreshes views, which only their owner may", "REASSIGN OWNED BY the other role TO this one")
	}
	switch facts[agent.DatabaseExtension] {
	case "foreign":
		add(preflight.Error, "the extension pgcrypto belongs to another role", "the first migration comments on it, which only its owner may",
			"DROP EXTENSION pgcrypto if nothing uses it, and let the platform make it; or make the role a member of its owner")
	case "absent":
		add(preflight.Error, "the extension pgcrypto can't be had by the role", "the first migration makes it", "install PostgreSQL's contrib package on the server, or let a superuser's role own the extension")
	}
	if facts[agent.DatabasePooled] == "true" {
		add(preflight.Warning, "a pooler stands before it that shares sessions", "migrations hold an advisory lock and change settings of their session", "name PostgreSQL itself, or a pooler in session mode")
	}
	if facts[agent.DatabaseTLS] == "false" {
		add(preflight.Warning, "the connection is not encrypted", "passwords of model providers cross the network in the clear", "set global.database.external.sslmode to verify-full")
	}
	free := number(agent.DatabaseConnections) - number(agent.DatabaseUsed)
	if limit := number(agent.DatabaseRoleLimit); limit >= 0 && limit < free {
		free = limit
	}
	if need := db.Connections + spare; free < need {
		add(preflight.Warning, fmt.Sprintf("it has %d connections left for the role, and the services open up to %d", free, need),
			"under load services are refused: \"too many clients already\"", fmt.Sprintf("raise max_connections, or the role's limit, by %d", need-free))
	}
	return findings
}
