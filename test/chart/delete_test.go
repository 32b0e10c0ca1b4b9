package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/neutree-ai/packaging/internal/hook"
)

const deleteData = "uninstall.deleteData=" + releaseName + "@1"

func deleteSpec(t *testing.T, set ...string) hook.DeleteSpec {
	t.Helper()
	objects := render(t, append(set, deleteData)...).Objects
	return specOf[hook.DeleteSpec](t, objects, specConfigMap(t, jobs(t, objects)["delete"]), "delete")
}

// Only who asked for it gets what deletes data, and then Helm brings everything that it needs after the release is gone.
func TestDataIsDeletedOnlyWhenAsked(t *testing.T) {
	if hooks := render(t).Hooks(release.HookPostDelete); len(hooks) > 0 {
		t.Errorf("after an uninstall: %v, want nothing", hooks)
	}
	rendered := render(t, deleteData)
	var kinds []string
	for _, object := range rendered.Hooks(release.HookPostDelete) {
		kinds = append(kinds, object.GetKind())
		if !slices.Equal(object.Hook.Events, []release.HookEvent{release.HookPostDelete}) {
			t.Errorf("%s: hook of %v, want post-delete alone", object, object.Hook.Events)
		}
		if job, ok := typed(t, object).(*batchv1.Job); ok {
			checkDeadline(t, pod{object, job.Spec.Template}, job.Spec.ActiveDeadlineSeconds, job.Spec.Template.Spec.Containers[0].Args)
		}
	}
	want := []string{"ServiceAccount", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Job"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("hooks after an uninstall:\n%s", diff)
	}
	teardown := specOf[hook.TeardownSpec](t, rendered.Objects, specConfigMap(t, jobs(t, rendered.Objects)["teardown"]), "teardown")
	if !teardown.DeleteData {
		t.Error("the teardown before it would list the data as kept")
	}
}

func TestDeleteNames(t *testing.T) {
	want := hook.DeleteSpec{
		Namespace: namespace, Release: releaseName, Revision: 1, Cluster: "nap-pg",
		Secrets: []string{"nap-pg-user", "nap-pg-ca", "nap-cp-secret", "nap-admin", "nap-database",
			"nap-credential-key-rotation"},
		GivenSecrets: []string{}, GivenClaims: []hook.NamespacedName{},
		ConfigMaps: []string{"nap-storage", "nap-restore", "neutree-installation", "nap-backup-drill"},
		Claims:     []hook.NamespacedName{{Namespace: namespace, Name: "nap-backups"}, {Namespace: namespace, Name: "afs-controller-db"}},
		Jobs: []string{"nap-pull", "nap-migrate", "nap-backup", "nap-backup-bootstrap", "nap-restore",
			"nap-rotate"},
		Leases:     []string{"db9c8771.cnpg.io"},
		Workspaces: hook.DeleteWorkspaces{Namespace: workspace, Created: true},
		CRDGroup:   "postgresql.cnpg.io",
	}
	if diff := cmp.Diff(want, deleteSpec(t)); diff != "" {
		t.Errorf("delete.yaml:\n%s", diff)
	}
}

func TestWhatAUserGaveIsNotDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		set                        []string
		kept, keptClaim, ownClaims []string
		created                    bool
	}{
		"Secrets":                 {set: []string{"global.admin.existingSecret=mine"}, kept: []string{"mine"}, ownClaims: []string{"nap/nap-backups", "nap/afs-controller-db"}, created: true},
		"AFS's volume":            {set: []string{"global.storage.afsController.existingClaim=mine"}, keptClaim: []string{"nap/mine"}, ownClaims: []string{"nap/nap-backups"}, created: true},
		"the shared volume":       {set: []string{"global.storage.shared.existingClaim=mine"}, keptClaim: []string{"nap-workspaces/mine"}, ownClaims: []string{"nap/nap-backups", "nap/afs-controller-db"}},
		"the namespace":           {set: []string{"global.workspaces.createNamespace=false"}, ownClaims: []string{"nap/nap-backups", "nap/afs-controller-db", "nap-workspaces/afs-shared-storage"}},
		"the release's namespace": {set: []string{"global.workspaces.namespace=nap"}, ownClaims: []string{"nap/nap-backups", "nap/afs-controller-db", "nap/afs-shared-storage"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := deleteSpec(t, tc.set...)
			if !slices.Equal(spec.GivenSecrets, append([]string{}, tc.kept...)) {
				t.Errorf("Secrets that stay: %v, want %v", spec.GivenSecrets, tc.kept)
			}
			for _, secret := range tc.kept {
				if slices.Contains(spec.Secrets, secret) {
					t.Errorf("Secret %s is deleted", secret)
				}
			}
			if got := claimNames(spec.GivenClaims); got != strings.Join(tc.keptClaim, " ") {
				t.Errorf("claims that stay: %s, want %v", got, tc.keptClaim)
			}
			if got := claimNames(spec.Claims); got != strings.Join(tc.ownClaims, " ") {
				t.Errorf("claims to delete: %s, want %v", got, tc.ownClaims)
			}
			if spec.Workspaces.Created != tc.created {
				t.Errorf("the namespace of the workspaces is deleted: %t, want %t", spec.Workspaces.Created, tc.created)
			}
			granted := rights(t, render(t, append(tc.set, deleteData)...).Objects)["nap/nap-delete"]
			for _, claim := range spec.Claims {
				if _, ok := granted[right{claim.Namespace, "", "persistentvolumeclaims", "delete"}]; !ok {
					t.Errorf("it may not delete claims in %s", claim.Namespace)
				}
			}
			if _, ok := granted[right{clusterWide, "", "namespaces", "delete"}]; ok != tc.created {
				t.Errorf("it may delete namespaces: %t, want %t", ok, tc.created)
			}
		})
	}
}

func claimNames(claims []hook.NamespacedName) string {
	var names []string
	for _, claim := range claims {
		names = append(names, claim.Namespace+"/"+claim.Name)
	}
	return strings.Join(names, " ")
}
