package database

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

const live = `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: nap-pg, namespace: nap}
status: {phase: Setting up primary, phaseReason: Creating primary instance nap-pg-1}
`

func event(name, kind, object, typ, message, at string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {name: %s, namespace: nap}
involvedObject: {kind: %s, name: %s}
type: %s
message: %q
lastTimestamp: %q
`, name, kind, object, typ, message, at)
}

func TestTrouble(t *testing.T) {
	const (
		phase = "the operator says: Setting up primary (Creating primary instance nap-pg-1)"
		claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-pg-1, namespace: nap, labels: {cnpg.io/cluster: nap-pg}}
status: {phase: Pending}
`
		pod = `
apiVersion: v1
kind: Pod
metadata: {name: nap-pg-1-initdb, namespace: nap, labels: {cnpg.io/cluster: nap-pg}}
status: `
	)
	for _, tc := range []struct {
		name    string
		objects []string
		want    string
	}{
		{name: "no Cluster"},
		{
			name:    "no operator",
			objects: []string{"apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg, namespace: nap}\n"},
			want: "the operator has not looked at Cluster nap-pg yet: no operator is running, or it looks after other " +
				"namespaces only " +
				"(the release that contains it needs cloudnative-pg.config.clusterWide=true)",
		},
		{name: "under way", objects: []string{live, claim}, want: phase},
		{
			name: "claim without a class",
			objects: []string{live, claim,
				event("a", "PersistentVolumeClaim", "nap-pg-1", "Warning", "older", "2026-01-01T00:00:00Z"),
				event("b", "PersistentVolumeClaim", "nap-pg-1", "Warning", "storageclass.storage.k8s.io \"fast\" not found", "2026-01-01T00:01:00Z"),
				event("c", "PersistentVolumeClaim", "nap-pg-1", "Normal", "news", "2026-01-01T00:02:00Z"),
				event("d", "PersistentVolumeClaim", "other", "Warning", "not ours", "2026-01-01T00:03:00Z"),
			},
			want: phase + `; claim nap-pg-1 is Pending: storageclass.storage.k8s.io "fast" not found`,
		},
		{
			name: "image that can't be pulled",
			objects: []string{live, pod + `{phase: Pending, initContainerStatuses: [{name: bootstrap-controller, image: "ghcr.io/x:1",
  state: {waiting: {reason: ImagePullBackOff, message: "Back-off pulling image \"ghcr.io/x:1\""}}}]}`},
			want: phase + `; pod nap-pg-1-initdb does not start: ImagePullBackOff of ghcr.io/x:1: Back-off pulling image "ghcr.io/x:1"`,
		},
		{
			name: "no node has room",
			objects: []string{live, pod + `{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable,
  message: "0/3 nodes are available: 3 Insufficient memory."}]}`},
			want: phase + `; pod nap-pg-1-initdb can't be scheduled: 0/3 nodes are available: 3 Insufficient memory.`,
		},
		{
			name: "initdb failed",
			objects: []string{live, pod + `{phase: Failed, containerStatuses: [{name: initdb, image: x, state: {terminated: {exitCode: 1, reason: Error,
  message: "disk\n full"}}}]}`},
			want: phase + `; pod nap-pg-1-initdb failed: container initdb ended with exit code 1 (Error) disk full`,
		},
		{
			name: "volume that can't be mounted",
			objects: []string{live, pod + `{phase: Pending}`,
				event("a", "Pod", "nap-pg-1-initdb", "Warning", "MountVolume.SetUp failed", "2026-01-01T00:00:00Z")},
			want: phase + `; pod nap-pg-1-initdb is Pending: MountVolume.SetUp failed`,
		},
		{
			name:    "containers that are being made",
			objects: []string{live, pod + `{phase: Pending, containerStatuses: [{name: initdb, image: x, state: {waiting: {reason: ContainerCreating}}}]}`},
			want:    phase,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, _ := setup(t, tc.objects...)
			if got := c.Trouble(contextFor(t, 10*time.Second)); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}
