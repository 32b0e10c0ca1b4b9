//go:build e2e

package e2e

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secretData is a fingerprint of every value of the platform's Secrets, by "secret/key", so that a
// comparison never shows the values themselves.
func (r *release) secretData(t testing.TB) map[string]string {
	t.Helper()
	list, err := r.client.CoreV1().Secrets(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := map[string]string{}
	for _, secret := range list.Items {
		name, ours := strings.CutPrefix(secret.Name, cmp.Or(r.prefix, "nap")+"-")
		if !ours {
			continue
		}
		switch name {
		case "pg-user", "cp-secret", "admin", "database":
			for key, value := range secret.Data {
				data[secret.Name+"/"+key] = fmt.Sprintf("%x", sha256.Sum256(value))
			}
		}
	}
	if len(data) == 0 {
		t.Fatalf("no Secret of the platform in namespace %s", r.namespace)
	}
	return data
}

// claims are the volumes that every claim of the release and its workspaces is bound to.
func (r *release) claims(t testing.TB) map[string]string {
	t.Helper()
	volumes := map[string]string{}
	for _, namespace := range []string{r.namespace, r.workspaces()} {
		list, err := r.client.CoreV1().PersistentVolumeClaims(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, claim := range list.Items {
			volumes[namespace+"/"+claim.Name] = claim.Spec.VolumeName
		}
	}
	return volumes
}

// podIdentities are the pods of the platform's services with their restarts; hook and bootstrap Jobs' pods
// come and go and do not count.
func (r *release) podIdentities(t testing.TB) map[string]int32 {
	t.Helper()
	identities := map[string]int32{}
	for _, namespace := range []string{r.namespace, r.workspaces()} {
		list, err := r.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range list.Items {
			// One that is on its way out, perhaps since an earlier upgrade, stands for nothing that runs.
			if _, job := pod.Labels["batch.kubernetes.io/job-name"]; job || pod.DeletionTimestamp != nil {
				continue
			}
			var restarts int32
			for _, status := range pod.Status.ContainerStatuses {
				restarts += status.RestartCount
			}
			identities[fmt.Sprintf("%s/%s/%s", namespace, pod.Name, pod.UID)] = restarts
		}
	}
	return identities
}

// wantOnlyChanged asserts that pods whose names start with prefix were made, and that no others came, went or restarted.
// The pods that they follow may still be ending.
func wantOnlyChanged(t testing.TB, before, after map[string]int32, prefix string) {
	t.Helper()
	made := 0
	for name := range after {
		if _, old := before[name]; !old && strings.HasPrefix(name, prefix) {
			made++
		}
	}
	if made == 0 {
		t.Errorf("no pod %s… was made", prefix)
	}
	for _, states := range []map[string]int32{before, after} {
		maps.DeleteFunc(states, func(name string, _ int32) bool { return strings.HasPrefix(name, prefix) })
	}
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("pods other than %s… before and after:\n%s", prefix, diff)
	}
}

// redact keeps the names of a comparison and drops the fingerprints.
func redact(diff string) string {
	lines := strings.Split(diff, "\n")
	for i, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		lines[i] = name
	}
	return strings.Join(lines, "\n")
}
