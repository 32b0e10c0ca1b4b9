package chart_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const extraSpec = "global.database.cnpg.extraSpec"

// specOfCluster is the Cluster's spec with an extraSpec in JSON.
func specOfCluster(t *testing.T, extra string) map[string]any {
	t.Helper()
	spec, _, _ := unstructured.NestedMap(cluster(t, renderFor(t, target{json: []string{extraSpec + "=" + extra}}).Objects).Object,
		"spec")
	return spec
}

func TestExtraSpecIsMerged(t *testing.T) {
	plain := specOfCluster(t, `{}`)
	spec := specOfCluster(t, `{"plugins": [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
	  "parameters": {"barmanObjectName": "archive"}}], "backup": {"target": "primary"}, "smartShutdownTimeout": 7,
	  "postgresql": {"shared_preload_libraries": ["pg_cron"]}}`)
	plugins, _, _ := unstructured.NestedSlice(spec, "plugins")
	timeout, _, _ := unstructured.NestedFieldNoCopy(spec, "smartShutdownTimeout")
	libraries, _, _ := unstructured.NestedStringSlice(spec, "postgresql", "shared_preload_libraries")
	if len(plugins) != 1 || len(libraries) != 1 || timeout != float64(7) {
		t.Errorf("plugins %v, libraries %v, timeout %v", plugins, libraries, timeout)
	}
	for _, field := range []string{"plugins", "backup", "smartShutdownTimeout"} {
		delete(spec, field)
		delete(plain, field)
	}
	delete(spec["postgresql"].(map[string]any), "shared_preload_libraries")
	if diff := cmp.Diff(plain, spec); diff != "" {
		t.Errorf("fields of the chart's own have changed:\n%s", diff)
	}
}

// A database that is recovered is not made, and the platform's role gets the password that the release has.
func TestRecoveryReplacesInitdb(t *testing.T) {
	spec := specOfCluster(t, `{"bootstrap": {"recovery": {"source": "before", "recoveryTarget": {"targetTime": "2026-11-23T14:05:00Z"}}},
	  "externalClusters": [{"name": "before", "plugin": {"name": "barman-cloud.cloudnative-pg.io"}}]}`)
	want := map[string]any{"recovery": map[string]any{
		"source": "before", "recoveryTarget": map[string]any{"targetTime": "2026-11-23T14:05:00Z"},
		"database": "nap", "owner": "nap", "secret": map[string]any{"name": prefix + "-pg-user"},
	}}
	if diff := cmp.Diff(want, spec["bootstrap"]); diff != "" {
		t.Error(diff)
	}
}

func TestExtraSpecIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		extra string
		set   []string
		want  string
	}{
		"instances":         {extra: `{"instances": 3}`, want: "sets instances, which the chart sets itself: set global.database.cnpg.instances"},
		"the image":         {extra: `{"imageName": "x:17"}`, want: "sets imageName, which the chart sets itself: set global.images.postgresql"},
		"storage":           {extra: `{"storage": {"size": "1Gi"}}`, want: "sets storage, which the chart sets itself: set global.database.cnpg.storage"},
		"the superuser":     {extra: `{"superuserSecret": {"name": "x"}}`, want: "sets superuserSecret, which the chart sets itself: remove it"},
		"certificates":      {extra: `{"certificates": {"serverCASecret": "x"}}`, want: "sets certificates, which the chart sets itself: remove it"},
		"settings":          {extra: `{"postgresql": {"parameters": {"a": "b"}}}`, want: "sets postgresql.parameters, which the chart sets itself: set global.database.cnpg.parameters"},
		"initdb":            {extra: `{"bootstrap": {"initdb": {"database": "x"}}}`, want: "sets bootstrap.initdb, which the chart sets itself: set global.database.name and user"},
		"another owner":     {extra: `{"bootstrap": {"recovery": {"source": "a", "owner": "x"}}}`, want: "sets bootstrap.recovery.owner, which the chart sets itself: set global.database.user"},
		"two origins":       {extra: `{"bootstrap": {"recovery": {}, "pg_basebackup": {}}}`, want: "bootstrap names both recovery and pg_basebackup"},
		"the role":          {extra: `{"managed": {"roles": [{"name": "nap"}]}}`, want: "managed.roles names role nap, which owns the platform's database"},
		"a text":            {extra: `{"bootstrap": "recovery", "managed": []}`, want: "extraSpec.bootstrap is no object: write its fields below it"},
		"two classes":       {extra: `{"backup": {"volumeSnapshot": {"className": "a"}}}`, set: []string{"global.backup.volumeSnapshotClass=b"}, want: "sets backup.volumeSnapshot.className, which the chart sets itself: set global.backup.volumeSnapshotClass"},
		"external database": {extra: `{"logLevel": "debug"}`, set: []string{"global.database.mode=external", "global.database.external.host=db", "global.database.external.existingSecret=db", "cloudnative-pg.enabled=false"}, want: "global.database.mode is external: leave it empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryRender(target{set: tc.set, json: []string{extraSpec + "=" + tc.extra}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("it does not say %q: %v", tc.want, err)
			}
		})
	}
	for _, extra := range []string{`{"managed": {"roles": [{"name": "reports"}]}, "bootstrap": null}`, `{"bootstrap": {"recovery": {"backup": {"name": "b"}}}}`,
		`{"backup": {"volumeSnapshot": {"className": "a"}}}`, `{"replica": {"enabled": true, "source": "a"}}`} {
		if _, err := tryRender(target{json: []string{extraSpec + "=" + extra}}); err != nil {
			t.Errorf("%s: %v", extra, err)
		}
	}
}

func TestVeleroAnnotations(t *testing.T) {
	const volumes, excludes = "backup.velero.io/backup-volumes", "backup.velero.io/backup-volumes-excludes"
	objects := render(t, "global.backup.velero=true").Objects
	controller := podOf(t, objects, "Deployment", "afs-controller")
	name := controller.template.Annotations[volumes]
	found := false
	for _, volume := range controller.spec().Volumes {
		found = found || volume.Name == name && volume.PersistentVolumeClaim != nil
	}
	if !found {
		t.Errorf("Velero would copy volume %q, which is none of the controller's PVCs", name)
	}
	annotations, _, _ := unstructured.NestedStringMap(cluster(t, objects).Object, "spec", "inheritedMetadata", "annotations")
	if annotations[excludes] != "pgdata,pg-wal" {
		t.Errorf("Velero would copy the files of a running PostgreSQL: %v", annotations)
	}
	if podOf(t, render(t).Objects, "Deployment", "afs-controller").template.Annotations[volumes] != "" {
		t.Error("there are annotations that no one asked for")
	}
}
