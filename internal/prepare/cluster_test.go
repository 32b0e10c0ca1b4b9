package prepare

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	clusterPath = "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg"
	clusterKind = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: nap-pg}\n"
)

// wants has the upgrade want another Cluster.
func (s *stage) wants(spec string) {
	s.Helper()
	if err := os.WriteFile(s.spec.Gate.Manifest, []byte(clusterKind+"spec: "+spec+"\n"), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) clusterField(fields ...string) string {
	s.Helper()
	value, _, _ := unstructured.NestedFieldNoCopy(s.server.Object(clusterPath).Object, fields...)
	return fmt.Sprint(value)
}

// What restarts PostgreSQL must not meet a service that starts, and what fails must not have migrated anything.
func TestTheDatabaseIsChangedBeforeItIsMigrated(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.wants(`{imageName: "registry.test/postgresql:17.10", storage: {size: 20Gi}}`)
	s.during = func(job string) {
		if size := s.clusterField("spec", "storage", "size"); strings.HasPrefix(job, "nap-migrate") && size != "20Gi" {
			t.Errorf("%s runs on a database with %s", job, size)
		}
	}
	s.wantDone("the database has its new values (storage)", "1 migrations applied")
}

func TestTheDatabaseIsLeftToBootstrap(t *testing.T) {
	const wanted = `{imageName: "registry.test/postgresql:17.10", storage: {size: 20Gi}}`
	t.Run("while it is stopped", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), stopped)
		s.wants(wanted)
		s.wantDone("no running database")
		if size := s.clusterField("spec", "storage", "size"); size == "20Gi" {
			t.Error("its Cluster was changed")
		}
	})
	// The upgrade may be what fixes the operator.
	t.Run("while its operator admits nothing", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), running)
		s.wants(wanted)
		s.compareTime = 100 * time.Millisecond
		s.server.Refuse(-1, "PATCH", clusterPath, kubetest.Status(500, metav1.StatusReasonInternalError,
			`Internal error occurred: failed calling webhook "vcluster.cnpg.io": failed to call webhook: Post "https://x": no endpoints available for service "cnpg-webhook-service"`))
		s.wantDone("1 migrations applied")
	})
	t.Run("while the operator is older than its values", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), running)
		s.wants(wanted)
		s.server.Refuse(-1, "PATCH", clusterPath, kubetest.Status(500, metav1.StatusReasonInternalError,
			"failed to create typed patch object (nap/nap-pg; postgresql.cnpg.io/v1, Kind=Cluster): .spec.new: field not "+
				"declared in schema"))
		s.wantDone("1 migrations applied")
	})
}

// Values that the operator refuses are found before anything is migrated or replaced.
func TestValuesThatTheOperatorRefuses(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.wants(`{imageName: "registry.test/postgresql:17.10", storage: {size: 10Gi}, postgresql: {parameters: {port: "1"}}}`)
	s.server.Refuse(-1, "PATCH", clusterPath, kubetest.Status(403, metav1.StatusReasonForbidden,
		`admission webhook "vcluster.cnpg.io" denied the request: Cluster.postgresql.cnpg.io "nap-pg" is invalid: spec.postgresql.parameters.port: Invalid value: "1": Can't set fixed configuration parameter`))
	s.wantRefused("the CloudNativePG operator refuses Cluster nap-pg", "Can't set fixed configuration parameter",
		"global.database")
	if s.migrated() {
		t.Error("a migration was applied")
	}
}

// PostgreSQL would refuse the services that run, which are replaced only later.
func TestTLSIsNotRequiredWhileServicesConnectWithoutIt(t *testing.T) {
	const service = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nap-cp, namespace: nap}\nspec: {template: {spec: " +
		"{containers: [{name: cp, env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: nap-database, key: %s}}}]}]}}}\n"
	const strict = `{imageName: "registry.test/postgresql:17.10", storage: {size: 10Gi}, ` +
		`postgresql: {pg_hba: [hostnossl all all all reject]}}`
	stage := func(key string) *stage {
		url := pgtest.Start(t)
		s := newStage(t, url, running, fmt.Sprintf(service, key))
		s.server.Put(strings.Replace(secretYAML("nap-database", "tls-url", url), "data: {", "data: {url: eA==, ", 1))
		s.spec.Migrate.URL.Key = "tls-url"
		s.spec.Restart = []string{"nap-cp"}
		s.wants(strict)
		return s
	}
	s := stage("url")
	s.wantRefused("Deployment nap-cp", "global.database.cnpg.requireTLS=always", "requireTLS=auto first")
	if s.migrated() {
		t.Error("a migration was applied")
	}
	s = stage("tls-url")
	s.wantDone("the database has its new values")
}

const newer = `{imageName: "registry.test/postgresql:18.1", storage: {size: 10Gi}}`

// A tag alone, and the next default of the chart, must not start an upgrade of the data.
func TestANewMajorVersionIsNoAccident(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), running)
		s.wants(newer)
		s.wantRefused("PostgreSQL would be upgraded from major version 17 to 18", "global.images.postgresql.tag",
			"--set global.upgrade.allowMajorUpgrade=true", "[upgrade.database-major]")
	})
	t.Run("kept where the chart names it by itself", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), running)
		s.wants(newer)
		s.spec.Gate.DefaultImage = true
		s.spec.Pull.Cluster = &hook.PulledDatabase{Name: "nap-pg", Image: "registry.test/postgresql:18.1"}
		s.wantDone("1 migrations applied")
		if image := s.clusterField("spec", "imageName"); image != "registry.test/postgresql:17.10" {
			t.Errorf("the image is %s", image)
		}
	})
	t.Run("refused once the spec names it and the data does not have it", func(t *testing.T) {
		s := newStage(t, "", strings.Replace(half("{}"), ", neutree.ai/stopped-services: '{}'", "", 1))
		s.wants(newer)
		s.wantRefused("PostgreSQL would be upgraded from major version 17 to 18")
	})
	// A run that was cut off, and no rollback since.
	for name, cluster := range map[string]string{
		"refused while another run has not ended": half(`{"replicas":{"nap-cp":2}}`),
		"refused where its services are stopped":  strings.Replace(half(`{"replicas":{"nap-cp":2}}`), oldData, newData, 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", cluster)
			s.spec.Gate.Allow.KeptValues = true
			s.wantRefused("an upgrade of PostgreSQL to another major version has not ended",
				"helm rollback neutree --namespace nap", "--set global.upgrade.allowMajorUpgrade=true",
				"[upgrade.database-major]")
		})
	}
	t.Run("refused without a backup", func(t *testing.T) {
		s := newStage(t, pgtest.Start(t), running)
		s.wants(newer)
		s.spec.Gate.Allow.MajorUpgrade = true
		s.wantRefused("without a backup", "global.backup.enabled=true")
	})
}

const writer = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {replicas: 2}
`

// raisingMajor is a release whose data is to become that of another major version. operate plays the operator once the
// Cluster has the new image.
func raisingMajor(t *testing.T, operate func(s *stage)) *stage {
	t.Helper()
	s := newStage(t, pgtest.Start(t), running, writer)
	s.saves()
	s.wants(newer)
	s.spec.Gate.Allow.MajorUpgrade = true
	var once sync.Once
	s.server.OnChange(func(int) {
		// The double is locked meanwhile.
		go func() {
			if s.server.Object(clusterPath) != nil && s.clusterField("spec", "imageName") == "registry.test/postgresql:18.1" {
				once.Do(func() { operate(s) })
			}
		}()
	})
	// It ends before the test does, and does not start after it.
	t.Cleanup(func() { once.Do(func() {}) })
	return s
}

func (s *stage) replicas() string {
	value, _, _ := unstructured.NestedFieldNoCopy(s.server.Object("/apis/apps/v1/namespaces/nap/deployments/nap-cp").Object, "spec", "replicas")
	return fmt.Sprint(value)
}

func TestANewMajorVersionThatIsMeant(t *testing.T) {
	var during string
	s := raisingMajor(t, func(s *stage) {
		during = s.replicas()
		s.server.Put(strings.Replace(strings.Replace(running, "17.10", "18.1", 1), "status: {",
			"status: {pgDataImageInfo: {image: \"registry.test/postgresql:18.1\", majorVersion: 18}, ", 1))
	})
	s.during = func(job string) {
		if strings.HasPrefix(job, "nap-backup") && s.replicas() != "0" {
			t.Errorf("the backup is made while %s pods write", s.replicas())
		}
	}
	s.wantDone("nap-backup done", "the data was upgraded")
	if during != "0" || s.replicas() != "2" {
		t.Errorf("nap-cp had %s pods during the upgrade, and has %s after it", during, s.replicas())
	}
	if !slices.ContainsFunc(s.ran, func(job string) bool {
		return strings.HasPrefix(job,
			"nap-backup registry.test/postgresql:17.10")
	}) {
		t.Errorf("no backup by the old version: %v", s.ran)
	}
	if note := s.clusterField("metadata", "annotations"); strings.Contains(note, "stopped-services") {
		t.Errorf("the services run, and the Cluster says %s", note)
	}
}

// Helm 4 refuses to change a field of another manager, so the replicas are given back to the manager that they had, also
// by a run that continues one which was cut off.
func TestANewMajorVersionLeavesTheReplicasToHelm(t *testing.T) {
	const (
		owned = `{manager: helm, operation: Apply, apiVersion: apps/v1, fieldsType: FieldsV1, ` +
			`fieldsV1: {"f:spec": {%s"f:template": {}}}}`
		scaled = `, {manager: nap-hooks, operation: Update, subresource: scale, apiVersion: apps/v1, ` +
			`fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:replicas": {}}}}`
	)
	managed := func(replicas int, entries string) string {
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: nap-cp, namespace: nap, "+
			"managedFields: [%s]}\nspec: {replicas: %d}\n", entries, replicas)
	}
	// As the API server notes the change of the scale.
	stopped := managed(0, fmt.Sprintf(owned, "")+scaled)
	for name, tc := range map[string]struct {
		cluster, deployment string
	}{
		"at once": {running, managed(2, fmt.Sprintf(owned, `"f:replicas": {}, `))},
		"after it was cut off": {half(`{"replicas":{"nap-cp":2},"owners":{"nap-cp":{"manager":"helm","operation":"Apply"}}}`),
			stopped},
	} {
		t.Run(name, func(t *testing.T) {
			s := raisingMajor(t, func(s *stage) {
				s.server.Put(stopped)
				annotations, _, _ := unstructured.NestedStringMap(s.server.Object(clusterPath).Object, "metadata",
					"annotations")
				s.server.Put(strings.Replace(half(annotations["neutree.ai/stopped-services"]), oldData, newData, 1))
			})
			s.server.Put(tc.cluster)
			s.server.Put(tc.deployment)
			s.wantDone("the data was upgraded")
			var got []string
			for _, entry := range s.server.Object(deployments + "/nap-cp").GetManagedFields() {
				got = append(got, entry.Manager+" "+entry.FieldsV1.GetRawString())
			}
			want := []string{`helm {"f:spec":{"f:replicas":{},"f:template":{}}}`}
			if !slices.Equal(got, want) || s.replicas() != "2" {
				t.Errorf("nap-cp has %s pods, and its fields are those of %v, want %v", s.replicas(), got, want)
			}
		})
	}
}

// oldData and newData are what a Cluster says of data of the old and of the new version.
const (
	oldData = `{image: "registry.test/postgresql:17.10", majorVersion: 17}`
	newData = `{image: "registry.test/postgresql:18.1", majorVersion: 18}`
)

// half is a Cluster whose data is being upgraded. services is what a run has noted of those that it stopped.
func half(services string) string {
	return `apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata:
  name: nap-pg
  namespace: nap
  annotations: {cnpg.io/hibernation: "off", neutree.ai/stopped-services: '` + services + `'}
spec: {imageName: "registry.test/postgresql:18.1", storage: {size: 10Gi}}
status: {currentPrimary: nap-pg-1, pgDataImageInfo: ` + oldData + `}
`
}

func TestANewMajorVersionThatFails(t *testing.T) {
	s := raisingMajor(t, func(s *stage) {
		s.server.Put(`apiVersion: v1
kind: Pod
metadata:
  name: nap-pg-1-major-upgrade-x
  namespace: nap
  labels: {cnpg.io/cluster: nap-pg, cnpg.io/jobRole: major-upgrade}
  annotations: {` + kubetest.LogAnnotation + `: "{\"msg\":\"checking\"}\nlibrary \e[31mtimescaledb is missing\n"}
status:
  phase: Failed
  initContainerStatuses: [{name: prepare, state: {terminated: {exitCode: 0}}}]
  containerStatuses: [{name: major-upgrade, state: {terminated: {exitCode: 1}}}]
`)
	})
	_, err := s.prepare()
	if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(), "pod nap-pg-1-major-upgrade-x: it failed") ||
		!strings.Contains(err.Error(), "with which the operator starts the database as it was") {
		t.Errorf("exit %d: %v", hook.CodeOf(err), err)
	}
	if image := s.clusterField("spec", "imageName"); image != "registry.test/postgresql:17.10" || s.replicas() != "2" {
		t.Errorf("the image is %s, and nap-cp has %s pods", image, s.replicas())
	}
	// The operator deletes the pod when the image is set back.
	for _, words := range []string{"container=major-upgrade", "nap-pg-1-major-upgrade-x: checking\"", "timescaledb is missing"} {
		if !strings.Contains(s.log.String(), words) || strings.Contains(s.log.String(), "\x1b") {
			t.Errorf("the log does not say %q:\n%s", words, &s.log)
		}
	}
	if s.migrated() {
		t.Error("a migration was applied")
	}
}

// A run that was cut off has stopped the services and made the backup: another one continues.
func TestANewMajorVersionThatWasCutOff(t *testing.T) {
	half := half(`{"replicas":{"nap-cp":2}}`)
	t.Run("and succeeds", func(t *testing.T) {
		s := raisingMajor(t, func(s *stage) {
			s.server.Put(strings.Replace(half, `{image: "registry.test/postgresql:17.10", majorVersion: 17}`,
				`{image: "registry.test/postgresql:18.1", majorVersion: 18}`, 1))
		})
		s.server.Put(half)
		s.server.Put(strings.Replace(writer, "replicas: 2", "replicas: 0", 1))
		s.wantDone("the data was upgraded")
		if s.replicas() != "2" || slices.ContainsFunc(s.ran, func(job string) bool {
			return strings.HasPrefix(job,
				"nap-backup") && strings.Contains(job, ":18.1")
		}) {
			t.Errorf("nap-cp has %s pods, and it ran %v", s.replicas(), s.ran)
		}
	})
	// While the data is upgraded nothing answers, and the services, whose images change too, are stopped.
	t.Run("and does not end", func(t *testing.T) {
		s := raisingMajor(t, func(*stage) {})
		s.server.Put(half)
		s.server.Put(strings.Replace(writer, "replicas: 2", "replicas: 0", 1))
		s.server.Put(secretYAML("nap-database", "url", "postgresql://none@127.0.0.1:1/nap"))
		s.spec.Pull.Workloads = []hook.PulledImage{{Deployment: "nap-cp", Container: "control-plane",
			Image: "registry.test/cp:v2"}}
		s.answerTime, s.changeTime = 100*time.Millisecond, time.Second
		_, err := s.prepare()
		if hook.CodeOf(err) != hook.Refused || !strings.Contains(err.Error(),
			"the data could not be upgraded to PostgreSQL 18") {
			t.Errorf("exit %d: %v", hook.CodeOf(err), err)
		}
		if image := s.clusterField("spec", "imageName"); image != "registry.test/postgresql:17.10" || s.replicas() != "2" {
			t.Errorf("the image is %s, and nap-cp has %s pods", image, s.replicas())
		}
	})
	t.Run("and fails", func(t *testing.T) {
		s := raisingMajor(t, func(s *stage) {
			s.server.Put("apiVersion: v1\nkind: Pod\nmetadata: {name: nap-pg-1-major-upgrade-x, namespace: nap, labels: " +
				"{cnpg.io/cluster: nap-pg, cnpg.io/jobRole: major-upgrade}}\nstatus: {phase: Failed}\n")
		})
		s.server.Put(half)
		if _, err := s.prepare(); hook.CodeOf(err) != hook.Refused {
			t.Errorf("exit %d: %v", hook.CodeOf(err), err)
		}
		if image := s.clusterField("spec", "imageName"); image != "registry.test/postgresql:17.10" || s.replicas() != "2" {
			t.Errorf("the image is %s, and nap-cp has %s pods", image, s.replicas())
		}
	})
}

// A webhook of a third party that can't be asked about the Cluster in a dry run does not end the upgrade, and the log names
// it.
func TestAClusterThatCannotBeTried(t *testing.T) {
	s := newStage(t, pgtest.Start(t), running)
	s.server.Refuse(-1, http.MethodPatch, "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg", kubetest.Status(
		http.StatusBadRequest, metav1.StatusReasonBadRequest, `admission webhook "audit.example.com" does not support dry run`))
	s.wantDone("1 migrations applied")
	const want = `msg="not tried before the upgrade" what="Cluster nap-pg (admission webhook \"audit.example.com\"`
	if !strings.Contains(s.log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, s.log.String())
	}
}
