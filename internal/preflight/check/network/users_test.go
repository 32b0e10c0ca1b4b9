package network

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/probe/agent"
	"github.com/neutree-ai/packaging/internal/probe/probetest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// bootstrapPod is that of the Job that connects to the database.
func bootstrapPod() requirement.Pod {
	pod := requirement.Pod{Owner: "Job nap-bootstrap-0a1b", Job: true, Labels: map[string]string{"app": "nap-bootstrap"}}
	var url corev1.EnvVarSource
	url.SecretKeyRef = &corev1.SecretKeySelector{Key: "tls-url"}
	url.SecretKeyRef.Name = "nap-database"
	var authority corev1.Volume
	authority.Name, authority.Secret = "database-ca", &corev1.SecretVolumeSource{SecretName: "nap-pg-ca"}
	pod.Spec.Volumes = []corev1.Volume{{Name: "spec"}, authority}
	pod.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Name: "DATABASE_URL", ValueFrom: &url}},
		VolumeMounts: []corev1.VolumeMount{{Name: "spec", MountPath: "/spec"}, {Name: "database-ca", MountPath: "/ca"}}}}
	return pod
}

// Of an installed release the database says which addresses users have set.
func TestWhatUsersLose(t *testing.T) {
	const (
		secret = "{apiVersion: v1, kind: Secret, metadata: {name: nap-database, namespace: nap}, data: {%s: eA==}}"
		lost   = "model provider ours uses 10.1.2.3, port 8000, which takes [x]"
		open   = "warning: workspaces may connect to anything"
	)
	for name, c := range map[string]struct {
		mode, key string
		install   bool
		result    agent.Result
		wantKey   string
		fails     string
		want      []string
	}{
		"limited": {mode: "closed", key: "tls-url", wantKey: "tls-url",
			result: agent.Result{Facts: agent.Facts{agent.LostCount: "3", "0": lost}},
			want: []string{"warning: the NetworkPolicy for workspaces cuts what users have set: " + lost +
				" -> add what it takes to global.networkPolicies.workspaceEgress.allow",
				"warning: the NetworkPolicy for workspaces cuts what users have set: 2 more"}},
		"open still": {mode: "auto", key: "tls-url", wantKey: "tls-url",
			result: agent.Result{Facts: agent.Facts{agent.LostCount: "1", "0": lost}},
			want:   []string{open, "note: the NetworkPolicy for workspaces would cut what users have set: " + lost}},
		"of version 0.1.0": {mode: "closed", key: "url", wantKey: "url",
			result: agent.Result{Facts: agent.Facts{agent.LostCount: "0"}}},
		"a database that is away": {mode: "closed", key: "tls-url", wantKey: "tls-url",
			result: agent.Result{Error: "connection refused"},
			fails:  "ask the database which model providers and MCP servers users have set: connection refused"},
		"an install": {mode: "closed", install: true},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []string{present}
			if c.key != "" {
				objects = append(objects, strings.Replace(secret, "%s", c.key, 1))
			}
			nodes := probetest.New(t, []string{"node1"}, objects...)
			nodes.Answer = func(_ string, task agent.Task) *agent.Result {
				if task.Lost == nil {
					return nil
				}
				return &c.result
			}
			set := limiting(t, c.mode)
			set.Pods = append(set.Pods, bootstrapPod())
			s := subject(t, nodes, set)
			s.Options.Upgrade = !c.install
			findings, err := workspaceEgress(t.Context(), s)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			checktest.Want(t, findings, c.want...)
			pods := nodes.Placed("workspace-users")
			if c.wantKey == "" {
				if len(pods) > 0 {
					t.Errorf("the database is asked by %s", pods[0].Name)
				}
				return
			}
			if len(pods) != 1 || pods[0].Namespace != "nap" || pods[0].Labels["app"] != "nap-bootstrap" {
				t.Fatalf("pods %v", pods)
			}
			main := pods[0].Spec.Containers[0]
			if key := main.Env[0].ValueFrom.SecretKeyRef.Key; key != c.wantKey || len(main.VolumeMounts) != 1 ||
				main.VolumeMounts[0].MountPath != "/ca" {
				t.Errorf("the pod reads key %s, mounts %v", key, main.VolumeMounts)
			}
		})
	}
}
