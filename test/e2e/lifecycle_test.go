//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
)

// The life of a release: installed with nothing set, used, upgraded, removed, installed again on its data.
func TestLifecycle(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })

	r.mustUpgrade(t, "--wait")
	session := r.login(t)
	first, _ := r.createWorkspace(t, session, "first")
	secrets := r.secretData(t)

	t.Run("what Helm keeps of it is small", func(t *testing.T) {
		const most = 700_000 // of the 1 MiB that Kubernetes takes
		list, err := r.client.CoreV1().Secrets(r.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
		if err != nil || len(list.Items) == 0 {
			t.Fatalf("%d release Secrets: %v", len(list.Items), err)
		}
		for _, secret := range list.Items {
			size := len(secret.Data["release"])
			if size > most {
				t.Errorf("%s holds %d bytes, want %d at most", secret.Name, size, most)
			}
			t.Logf("%s holds %d bytes", secret.Name, size)
		}
	})

	t.Run("helm test proves it", func(t *testing.T) {
		got := r.run(t.Context(), 2*time.Minute, "test", r.name, "--namespace", r.namespace, "--timeout", "90s")
		if got.err != nil || !containsAll(got.output, "pass", "the administrator logs in", "the schema is this release's", "AFS controller answers") {
			t.Errorf("helm test: %v after %s\n%s", got.err, got.took, got.output)
		}
		t.Logf("helm test: %s\n%s", got.took, got.output)
	})

	// That the first workspace is ready shows that it finds names, the control plane and the AFS controller.
	t.Run("a workspace reaches the platform and not the cluster", r.wantWorkspacesLimited)

	t.Run("an upgrade that changes nothing restarts nothing", func(t *testing.T) {
		before := r.podIdentities(t)
		r.mustUpgrade(t, "--wait")
		if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
			t.Errorf("pods before and after:\n%s", diff)
		}
	})

	t.Run("a migration that fails ends the upgrade before any service is touched", func(t *testing.T) {
		before := r.podIdentities(t)
		got := r.upgrade(t.Context(), "--wait", "--set", "global.images.controlPlane.tag=v0.2.2-broken")
		wantRefused(t, got, time.Minute, "133_", "nap-prepare")
		if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
			t.Errorf("pods before and after the failed upgrade:\n%s", diff)
		}
		session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	})

	t.Run("an image that can't be pulled is named and nothing changes", func(t *testing.T) {
		before := r.podIdentities(t)
		got := r.upgrade(t.Context(), "--wait", "--set", "global.images.skills.tag=no-such-tag")
		wantRefused(t, got, time.Minute, "nap-skills-content-service:no-such-tag", "can't be pulled")
		if diff := cmp.Diff(before, r.podIdentities(t)); diff != "" {
			t.Errorf("pods before and after the refused upgrade:\n%s", diff)
		}
	})

	t.Run("a service that never gets ready is taken back", func(t *testing.T) {
		r.wantTakenBack(t, "--rollback-on-failure")
		session.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, nil)
	})

	t.Run("the fixed image goes through and restarts its service alone", func(t *testing.T) {
		before := r.podIdentities(t)
		r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.2")
		wantOnlyChanged(t, before, r.podIdentities(t), "nap/nap-cp-")
		r.login(t)
	})

	t.Run("a rollback across a breaking migration is refused until an annotation names it", r.wantBreakingRollbackRefused)

	t.Run("a rollback goes back to the old image and leaves the newer schema", func(t *testing.T) {
		before := r.podIdentities(t)
		r.rollback(t, "1")
		wantOnlyChanged(t, before, r.podIdentities(t), "nap/nap-cp-")
		r.login(t)
	})

	t.Run("images older than the database are refused until somebody says so", func(t *testing.T) {
		r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.2.2")
		// Without any value helm would take those of the last revision.
		got := r.upgrade(t.Context(), "--wait", "--set", "global.images.controlPlane.tag=v0.2.0")
		wantRefused(t, got, time.Minute, "older than the database", "global.upgrade.allowOlderImages=true")
	})

	t.Run("another encryption key is refused", func(t *testing.T) {
		r.wantKeyNeeded(t, map[string][]byte{encryptionKey: []byte(strings.Repeat("ab", 32))}, "holds another")
	})

	t.Run("new values of the database are in place before a service is replaced", r.wantDatabaseChangedFirst)

	t.Run("uninstall keeps data and Secrets, and stops what runs", func(t *testing.T) {
		claims := r.claims(t)
		r.mustUninstall(t)
		r.wantEgressPolicy(t, false)
		if diff := cmp.Diff(secrets, r.secretData(t)); diff != "" {
			t.Errorf("Secrets changed:\n%s", redact(diff))
		}
		if diff := cmp.Diff(claims, r.claims(t)); diff != "" {
			t.Errorf("claims changed:\n%s", diff)
		}
		eventually(t, time.Minute, "no pod is left", func(ctx context.Context) (bool, string) {
			for _, namespace := range []string{r.namespace, r.workspaces()} {
				pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
				if err != nil {
					return false, err.Error()
				}
				for _, pod := range pods.Items {
					return false, fmt.Sprintf("%s/%s is there", namespace, pod.Name)
				}
			}
			return true, ""
		})
	})

	t.Run("a new install without its Secret is refused", func(t *testing.T) { r.wantKeyNeeded(t, nil, "has no") })

	// Of a newer version, so the database that was kept is saved and migrated on the way: no hook can ask it.
	t.Run("a new install finds both", func(t *testing.T) {
		r.mustUpgrade(t, "--wait", "--set", "global.images.controlPlane.tag=v0.3.0")
		if diff := cmp.Diff(secrets, r.secretData(t)); diff != "" {
			t.Errorf("Secrets changed:\n%s", redact(diff))
		}
		r.wantEgressPolicy(t, true)
		session := r.login(t)
		want := map[string]string{first.ID: "first"}
		if diff := cmp.Diff(want, session.workspaceNames(t)); diff != "" {
			t.Errorf("workspaces before the uninstall and after the new install:\n%s", diff)
		}
		r.waitWorkspace(t, first.ID)
		session.do(t, http.MethodDelete, "/api/workspaces/"+first.ID, nil, http.StatusOK, nil)
	})

	t.Run("an uninstall that is to delete the data leaves the operator's definitions alone", func(t *testing.T) {
		image := []string{"--wait", "--set", "global.images.controlPlane.tag=v0.3.0"}
		// The release's name alone does not do, and the refusal says what does.
		refusal := r.upgrade(t.Context(), append(image, "--set", "uninstall.deleteData="+r.name)...)
		asked := regexp.MustCompile(`set (uninstall\.deleteData=` + r.name + `@\d+)`).FindStringSubmatch(refusal.output)
		if refusal.err == nil || asked == nil {
			t.Fatalf("helm upgrade with the name of the release alone: %v\n%s", refusal.err, refusal.output)
		}
		r.mustUpgrade(t, append(image, "--set", asked[1])...)
		got := r.mustUninstall(t)
		if !containsAll(got.output, "deleted", "Cluster nap/nap-pg", "Namespace "+r.workspaces(), "stays", "clusters"+operatorGroup) {
			t.Errorf("helm does not say what was deleted and what stays:\n%s", got.output)
		}
		// Helm's own list names what the annotations keep, and comes after the hook's.
		said := strings.Index(got.output, "what Helm lists next")
		listed := strings.Index(got.output, "These resources were kept")
		if said < 0 || listed < said {
			t.Errorf("Helm's list of what is kept does not follow the hook's log:\n%s", got.output)
		}
		r.wantNothingLeft(t)
	})
}

// The chart installs under Helm 3 with the same result, and with what most people will set: the address of a
// node and the storage classes.
func TestHelm3(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm3, "neutree", "nap")
	t.Cleanup(func() { r.purge(t) })

	values := []string{
		"--wait", "--set", "global.host=" + env.nodeIP,
		"--set", "global.database.cnpg.storage.storageClass=local-path",
		"--set", "global.storage.afsController.storageClass=local-path",
		"--set", "global.storage.shared.storageClass=shared-immediate",
		"--set", "global.workspaces.storageClass=local-path",
	}
	r.mustUpgrade(t, values...)
	session := r.login(t)
	r.createWorkspace(t, session, "under-helm-3")
	r.wantTakenBack(t, append([]string{"--atomic"}, values...)...)
	r.mustUpgrade(t, values...)
	r.wantClosedToStrangers(t)
	r.wantTLS(t)
	r.wantNewAuthority(t)
	r.wantKeyRotated(t, values...)
	r.mustUninstall(t)
}
