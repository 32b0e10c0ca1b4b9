package database

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, document string) *unstructured.Unstructured {
	t.Helper()
	if document == "" {
		return nil
	}
	u := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(document))
	if err == nil {
		err = json.Unmarshal(raw, &u.Object)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestKeepLive(t *testing.T) {
	for _, tc := range []struct {
		name, desired, live, want string
		kept                      []string
		wantErr                   string
	}{
		{
			name:    "first install",
			desired: `spec: {imageName: "pg:17.10", storage: {size: 10Gi}}`,
			want:    `spec: {imageName: "pg:17.10", storage: {size: 10Gi}}`,
		},
		{
			name:    "growing and newer",
			desired: `spec: {imageName: "pg:17.11", storage: {size: 20Gi}, instances: 3}`,
			live:    `spec: {imageName: "pg:17.10", storage: {size: 10Gi}, instances: 1}`,
			want:    `spec: {imageName: "pg:17.11", storage: {size: 20Gi}, instances: 3}`,
		},
		{
			name:    "a newer major version",
			desired: `spec: {imageName: "pg:18.1", storage: {size: 10Gi}}`,
			live:    `spec: {imageName: "pg:17.10", storage: {size: 10Gi}}`,
			want:    `spec: {imageName: "pg:17.10", storage: {size: 10Gi}}`,
		},
		{
			name:    "created another way than the values say now",
			desired: `spec: {bootstrap: {recovery: {source: before}}, storage: {size: 10Gi}}`,
			live:    `spec: {bootstrap: {initdb: {database: nap}}, storage: {size: 10Gi}}`,
			want:    `spec: {bootstrap: {initdb: {database: nap}}, storage: {size: 10Gi}}`,
			kept: []string{"spec.bootstrap.recovery has no effect: the database exists, and is recovered only when it is " +
				"created"},
		},
		{
			name: "admits connections without TLS, and a default would end that",
			desired: `{metadata: {annotations: {neutree.ai/require-tls: auto}}, ` +
				`spec: {postgresql: {parameters: {a: "1"}, pg_hba: [hostnossl all all all reject]}}}`,
			live: `spec: {postgresql: {parameters: {a: "1"}}}`,
			want: `{metadata: {annotations: {neutree.ai/require-tls: auto}}, spec: {postgresql: {parameters: {a: "1"}}}}`,
		},
		{
			name:    "admits connections without TLS, and a value ends that",
			desired: `spec: {postgresql: {pg_hba: [hostnossl all all all reject]}}`,
			live:    `spec: {postgresql: {parameters: {a: "1"}}}`,
			want:    `spec: {postgresql: {pg_hba: [hostnossl all all all reject]}}`,
		},
		{
			name: "refuses connections without TLS",
			desired: `{metadata: {annotations: {neutree.ai/require-tls: auto}}, ` +
				`spec: {postgresql: {pg_hba: [hostnossl all all all reject]}}}`,
			live: `spec: {postgresql: {pg_hba: [hostnossl all all all reject]}}`,
			want: `{metadata: {annotations: {neutree.ai/require-tls: auto}}, ` +
				`spec: {postgresql: {pg_hba: [hostnossl all all all reject]}}}`,
		},
		{
			name:    "the same size written otherwise",
			desired: `spec: {storage: {size: 1Gi}}`,
			live:    `spec: {storage: {size: 1024Mi}}`,
			want:    `spec: {storage: {size: 1Gi}}`,
		},
		{
			name:    "smaller",
			desired: `spec: {storage: {size: 5Gi}}`,
			live:    `spec: {storage: {size: 10Gi}}`,
			want:    `spec: {storage: {size: 10Gi}}`,
			kept:    []string{"spec.storage.size stays 10Gi, not 5Gi: a volume can't shrink"},
		},
		{
			name:    "an older minor version is a choice",
			desired: `spec: {imageName: "pg:17.4"}`,
			live:    `spec: {imageName: "pg:17.10"}`,
			want:    `spec: {imageName: "pg:17.4"}`,
		},
		{
			name:    "an older major version",
			desired: `spec: {imageName: "new.example/pg:16.4"}`,
			live:    `spec: {imageName: "ghcr.io/pg:17.10"}`,
			want:    `spec: {imageName: "ghcr.io/pg:17.10"}`,
			kept:    []string{"the PostgreSQL image stays ghcr.io/pg:17.10, not new.example/pg:16.4: the data was written by major version 17 and an older one can't read it"},
		},
		{
			name:    "older than the data, not than the last spec",
			desired: `spec: {imageName: "pg:16.4"}`,
			live:    `{spec: {imageName: "pg:16.4"}, status: {pgDataImageInfo: {image: "pg:17.10", majorVersion: 17}}}`,
			want:    `spec: {imageName: "pg:17.10"}`,
			kept:    []string{"the PostgreSQL image stays pg:17.10, not pg:16.4: the data was written by major version 17 and an older one can't read it"},
		},
		{
			name:    "the data's, not that of an upgrade which has not ended",
			desired: `spec: {imageName: "pg:17.11"}`,
			live:    `{spec: {imageName: "pg:18.1"}, status: {pgDataImageInfo: {image: "pg:17.10", majorVersion: 17}}}`,
			want:    `spec: {imageName: "pg:17.11"}`,
		},
		{
			name:    "another class",
			desired: `spec: {storage: {size: 10Gi, storageClass: fast}}`,
			live:    `spec: {storage: {size: 10Gi, storageClass: slow}}`,
			want:    `spec: {storage: {size: 10Gi, storageClass: slow}}`,
			kept:    []string{`spec.storage.storageClass stays "slow", not "fast": a volume can't change its class`},
		},
		{
			name:    "a class where the default was used",
			desired: `spec: {storage: {size: 10Gi, storageClass: fast}}`,
			live:    `spec: {storage: {size: 10Gi}}`,
			want:    `spec: {storage: {size: 10Gi}}`,
			kept:    []string{`spec.storage.storageClass stays "the default class", not "fast": a volume can't change its class`},
		},
		{
			name:    "the class left out again",
			desired: `spec: {storage: {size: 10Gi}}`,
			live:    `spec: {storage: {size: 10Gi, storageClass: slow}}`,
			want:    `spec: {storage: {size: 10Gi, storageClass: slow}}`,
		},
		{
			name:    "the WAL's volume taken away",
			desired: `spec: {storage: {size: 10Gi}}`,
			live:    `spec: {storage: {size: 10Gi}, walStorage: {size: 2Gi}}`,
			want:    `spec: {storage: {size: 10Gi}, walStorage: {size: 2Gi}}`,
			kept:    []string{"spec.walStorage is kept: the operator cannot take a volume away"},
		},
		{
			name:    "no size",
			desired: `spec: {storage: {size: lots}}`,
			live:    `spec: {storage: {size: 10Gi}}`,
			wantErr: `spec.storage.size "lots" is no size such as 10Gi: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$': correct the values below global.database.cnpg [upgrade.database-values]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desired := object(t, tc.desired)
			got, kept, err := KeepLive(desired, object(t, tc.live))
			if tc.wantErr != "" {
				if err == nil || err.Error() != tc.wantErr {
					t.Fatalf("error %v, want %s", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, tc.want).Object, got.Object); diff != "" {
				t.Errorf("object (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.kept, kept); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(object(t, tc.desired).Object, desired.Object); diff != "" {
				t.Errorf("the manifest itself was changed:\n%s", diff)
			}
		})
	}
}

func TestRaisesMajor(t *testing.T) {
	for _, tc := range []struct {
		desired, live string
		from, to      int
	}{
		{desired: `spec: {imageName: "pg:18.1"}`},
		{`spec: {imageName: "pg:18.1"}`, `spec: {imageName: "pg:17.10"}`, 17, 18},
		{`spec: {imageName: "pg:18.1"}`,
			`{spec: {imageName: "pg@sha256:0b1a"}, status: {pgDataImageInfo: {image: "pg:17.10", majorVersion: 17}}}`, 17, 18},
		{`spec: {imageName: "pg:18.1"}`,
			`{spec: {imageName: "pg:18.1"}, status: {pgDataImageInfo: {image: "pg:17.10", majorVersion: 17}}}`, 17, 18},
		{`spec: {imageName: "pg:18.1"}`,
			`{spec: {imageName: "pg:18.1"}, status: {pgDataImageInfo: {image: "pg:18.1", majorVersion: 18}}}`, 0, 0},
		{`spec: {imageName: "pg:17.11"}`, `spec: {imageName: "pg:17.10"}`, 0, 0},
		{`spec: {imageName: "pg:16.4"}`, `spec: {imageName: "pg:17.10"}`, 0, 0},
		{`spec: {imageName: "pg@sha256:0b1a"}`, `spec: {imageName: "pg:17.10"}`, 0, 0},
		{`spec: {imageName: "pg:18.1"}`, `spec: {imageName: "pg@sha256:0b1a"}`, 0, 0},
	} {
		if from, to := RaisesMajor(object(t, tc.desired), object(t, tc.live)); from != tc.from || to != tc.to {
			t.Errorf("%s over %s: from %d to %d, want from %d to %d", tc.desired, tc.live, from, to, tc.from, tc.to)
		}
	}
}

func TestMajor(t *testing.T) {
	for image, want := range map[string]int{
		"ghcr.io/cloudnative-pg/postgresql:17.10":                   17,
		"ghcr.io/cloudnative-pg/postgresql:17.10-standard-bookworm": 17,
		"registry.example:5000/pg:16":                               16,
		"registry.example:5000/pg":                                  0,
		"pg:17.4@sha256:0b1a":                                       17,
		"pg@sha256:0b1a":                                            0,
		"pg:latest":                                                 0,
		"":                                                          0,
		"registry.example:5000/pg:99999999999999999999999999999999999.1": 0,
	} {
		if got := Major(image); got != want {
			t.Errorf("Major(%q) = %d, want %d", image, got, want)
		}
	}
}
