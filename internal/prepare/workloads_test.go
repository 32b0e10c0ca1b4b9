package prepare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/pgtest"
)

const (
	deployments = "/apis/apps/v1/namespaces/nap/deployments"
	pods        = "/api/v1/namespaces/nap/pods"
	services    = "/api/v1/namespaces/nap/services"

	// liveCP has a limit, an environment and a placement that the new version has not, an annotation of another client,
	// and its pods start before old ones end.
	liveCP = `apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec:
  replicas: 1
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: nap-cp}}
  template:
    metadata: {labels: {app: nap-cp, old: label}, annotations: {kubectl.kubernetes.io/restartedAt: now}}
    spec:
      nodeSelector: {disk: ssd}
      serviceAccountName: nap-cp
      containers: [{name: control-plane, image: "registry.test/cp:1", resources: {limits: {cpu: "1"}}}]
`
	newWorkloads = `left: [Service nap-large]
workloads:
  - value: controlPlane.cp
    object:
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: nap-cp, namespace: nap, labels: {app: nap-cp}}
      spec:
        replicas: 1
        strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
        selector: {matchLabels: {app: nap-cp}}
        template:
          metadata: {labels: {app: nap-cp}, annotations: {checksum: new}}
          spec:
            serviceAccountName: nap-cp
            containers: [{name: control-plane, image: "registry.test/cp:2", resources: {requests: {cpu: "2"}}}]
  - value: gateway
    object:
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: nap-cg, namespace: nap}
      spec:
        template:
          metadata: {labels: {app: nap-cg}}
          spec: {serviceAccountName: nap-cg, containers: [{name: cg, image: "registry.test/cg:2"}]}
  - value: gateway
    object: {apiVersion: v1, kind: Service, metadata: {name: nap-cg, namespace: nap}, spec: {ports: [{port: 80}]}}
`
)

// judges hands the workloads of the new version to prepare.
func (s *stage) judges(workloads string) {
	s.Helper()
	path := filepath.Join(s.TempDir(), "workloads.yaml")
	if err := os.WriteFile(path, []byte(workloads), 0o600); err != nil {
		s.Fatal(err)
	}
	s.spec.Workloads.Manifests = path
}

// changed are the requests that changed something, without dry runs.
func (s *stage) changed() []string {
	var all []string
	for _, request := range s.server.Changes() {
		if !request.DryRun {
			all = append(all, request.Method+" "+request.Path)
		}
	}
	return all
}

func invalid(text string) metav1.Status {
	return kubetest.Status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, text)
}

// A workload that Helm could not apply ends the upgrade before anything is changed, with the object and its values.
func TestARefusedWorkloadEndsTheUpgradeFirst(t *testing.T) {
	const moreThanLimit = `Deployment.apps "nap-cp" is invalid: spec.template.spec.containers[0].resources.requests: ` +
		`Invalid value: "2": must be less than or equal to cpu limit of 1`
	forbidden := func(text string) metav1.Status {
		return kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden, text)
	}
	for name, tc := range map[string]struct {
		method, path string
		status       metav1.Status
		words        []string
	}{
		"the API server": {http.MethodPatch, deployments + "/nap-cp", invalid(moreThanLimit), []string{
			"Deployment nap-cp", "containers[0].resources.requests", "fix the values below controlPlane.cp",
			"[admission.policy]"}},
		"a webhook": {http.MethodPatch, deployments + "/nap-cp", kubetest.Status(http.StatusTooManyRequests, "",
			`admission webhook "validate.kyverno.svc" denied the request: no requests`), []string{
			"Deployment nap-cp", "validate.kyverno.svc", "[admission.policy]"}},
		"a webhook that is down": {http.MethodPatch, deployments + "/nap-cp", kubetest.Status(
			http.StatusInternalServerError, metav1.StatusReasonInternalError,
			`Internal error occurred: failed calling webhook "validate.kyverno.svc": no endpoints`), []string{
			"Deployment nap-cp", `(Internal error occurred: failed calling webhook "validate.kyverno.svc": no endpoints)`,
			"start webhook validate.kyverno.svc again, then repeat the upgrade", "[admission.policy]"}},
		"an unknown field": {http.MethodPatch, deployments + "/nap-cp", invalid(`"" is invalid: patch: Invalid value: ` +
			`"{\"env\":\"secret\"}": strict decoding error: unknown field "spec.template.spec.volume"`), []string{
			`Deployment nap-cp of the new version (strict decoding error: unknown field "spec.template.spec.volume")`}},
		"a new service": {http.MethodPost, services, invalid(`Service "nap-cg" is invalid: spec.ports[0].name: Required`),
			[]string{"Service nap-cg", "spec.ports[0].name", "below gateway"}},
		"a quota": {http.MethodPost, pods, forbidden(`pods "nap-cp-x" is forbidden: exceeded quota: q, ` +
			`requested: requests.cpu=2, used: requests.cpu=1, limited: requests.cpu=2`), []string{
			"pods of Deployment nap-cp", "exceeded quota: q", "[admission.quota]"}},
		"Pod Security": {http.MethodPost, pods, forbidden(`pods "nap-cp-x" is forbidden: violates PodSecurity ` +
			`"restricted:latest": host namespaces`), []string{"pods of Deployment nap-cp", "[admission.pod-security]"}},
		"a priority": {http.MethodPost, pods, forbidden(`pods "nap-cp-x" is forbidden: no PriorityClass with name high ` +
			`was found`), []string{"create the PriorityClass", "[admission.priority]"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", running, liveCP)
			s.judgeTime = time.Second
			s.judges(newWorkloads)
			s.server.Refuse(-1, tc.method, tc.path, tc.status)
			s.wantRefused(tc.words...)
			if all := s.changed(); len(all) > 0 {
				t.Errorf("refused, and yet it changed %v", all)
			}
		})
	}
}

// What the operator refuses of the Cluster is known before anything is changed too.
func TestARefusedClusterEndsTheUpgradeFirst(t *testing.T) {
	s := newStage(t, "", running)
	s.server.Refuse(-1, http.MethodPatch, "/apis/postgresql.cnpg.io/v1/namespaces/nap/clusters/nap-pg",
		invalid(`Cluster "nap-pg" is invalid: spec.postgresql.parameters.ssl: can't be set`))
	s.wantRefused("Cluster nap-pg", "spec.postgresql.parameters.ssl", "[cnpg.webhook]")
	if all := s.changed(); len(all) > 0 {
		t.Errorf("refused, and yet it changed %v", all)
	}
}

// An answer that says nothing about the workloads does not end the upgrade, and the log says what was not tried.
func TestAnUpgradeContinuesWithoutAVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		method, path string
		status       metav1.Status
		log          string
		arrange      func(*stage)
	}{
		"nothing refused": {log: `what="Service nap-large, Deployment nap-cg (it is new)"`},
		"a webhook without dry runs": {http.MethodPatch, deployments + "/nap-cp", kubetest.Status(http.StatusBadRequest,
			metav1.StatusReasonBadRequest, `admission webhook "x" does not support dry run`),
			"Deployment nap-cp (admission webhook", nil},
		"room once the hook ended": {http.MethodPost, pods, kubetest.Status(http.StatusForbidden,
			metav1.StatusReasonForbidden, `pods "nap-cp-x" is forbidden: exceeded quota: q, requested: pods=1, `+
				`used: pods=3, limited: pods=3`), "a quota has no room for one more pod now", nil},
		"what is allowed": {http.MethodPatch, deployments + "/nap-cp", invalid("Deployment is invalid: spec: no"),
			"level=WARN msg=\"the API server refuses Deployment nap-cp of the new version",
			func(s *stage) { s.spec.Workloads.AllowRefused = true }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pgtest.Start(t), running, liveCP)
			s.judges(newWorkloads)
			if tc.arrange != nil {
				tc.arrange(s)
			}
			s.server.Refuse(-1, tc.method, tc.path, tc.status)
			s.wantDone("1 migrations applied")
			if !strings.Contains(s.log.String(), tc.log) {
				t.Errorf("the log does not say %q:\n%s", tc.log, s.log.String())
			}
		})
	}
}

// What the API server is asked about is the workload as Helm would make it: without what the new version dropped, and
// with what others have added.
func TestAWorkloadIsTriedAsHelmWouldMakeIt(t *testing.T) {
	s := newStage(t, "", running, liveCP)
	s.judges(newWorkloads)
	s.spec.Workloads.BringsPriorityClasses = true
	s.wantDone()
	asked := map[string]map[string]any{}
	for _, request := range s.server.Changes() {
		name := request.Method + " " + request.Path
		if metadata, _ := request.Body["metadata"].(map[string]any); metadata["generateName"] != nil {
			name += " " + metadata["generateName"].(string)
		}
		asked[name] = request.Body
	}
	for name, want := range map[string]string{
		"PATCH " + deployments + "/nap-cp": `{"metadata":{"labels":{"app":"nap-cp"}},"spec":{"replicas":1,` +
			`"selector":{"matchLabels":{"app":"nap-cp"}},` +
			`"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0},"type":"RollingUpdate"},` +
			`"template":{"metadata":{"annotations":{"checksum":"new"},"labels":{"app":"nap-cp","old":null}},` +
			`"spec":{"containers":[{"image":"registry.test/cp:2","name":"control-plane",` +
			`"resources":{"requests":{"cpu":"2"}}}],"nodeSelector":null,"serviceAccountName":"nap-cp"}}}}`,
		"POST " + pods + " nap-cp-": `{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":` +
			`{"checksum":"new","kubectl.kubernetes.io/restartedAt":"now"},"generateName":"nap-cp-",` +
			`"labels":{"app":"nap-cp"},"name":"nap-cp-x7k2p","namespace":"nap"},` +
			`"spec":{"containers":[{"image":"registry.test/cp:2","name":"control-plane",` +
			`"resources":{"requests":{"cpu":"2"}}}],"serviceAccountName":"nap-cp"}}`,
		"POST " + pods + " nap-cg-": `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"nap-cg-",` +
			`"labels":{"app":"nap-cg"},"name":"nap-cg-x7k2p","namespace":"nap"},` +
			`"spec":{"containers":[{"image":"registry.test/cg:2","name":"cg"}],"serviceAccountName":"nap-cg"}}`,
	} {
		got, err := json.Marshal(asked[name])
		if err != nil || string(got) != want {
			t.Errorf("%s:\n%s, %v, want\n%s", name, got, err, want)
		}
	}
	if all := s.changed(); len(all) > 0 {
		t.Errorf("asking changed %v", all)
	}
}

// accounts refuses pods whose ServiceAccount does not exist, as the API server does, and asks judge about the others.
func (s *stage) accounts(judge func(account string) *metav1.Status, existing ...string) {
	s.server.Judge(func(request kubetest.Request) *metav1.Status {
		if request.Method != http.MethodPost || request.Path != pods {
			return nil
		}
		spec, _ := request.Body["spec"].(map[string]any)
		account, _ := spec["serviceAccountName"].(string)
		if !slices.Contains(existing, cmp.Or(account, "default")) {
			status := kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(`pods "x" is `+
				`forbidden: error looking up service account nap/%[1]s: serviceaccount "%[1]s" not found`, account))
			return &status
		}
		return judge(account)
	})
}

// The ServiceAccounts of new workloads do not exist yet. Of a refusal with another ServiceAccount counts what does not
// depend on the ServiceAccount.
func TestNewPodsWithoutTheirServiceAccount(t *testing.T) {
	const (
		defaultRefused = `admission webhook "validate.kyverno.svc" denied the request: ServiceAccount default is not allowed`
		noSCC          = `pods "nap-cg-x" is forbidden: unable to validate against any security context constraint: []`
		overQuota      = `pods "nap-cg-x" is forbidden: failed quota: q: must specify limits.cpu for: cg`
	)
	forbidden := func(text string) *metav1.Status {
		status := kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden, text)
		return &status
	}
	onlyOwn := func(account string) *metav1.Status {
		if account == "" || account == "default" {
			return forbidden(defaultRefused)
		}
		return nil
	}
	standsIn := func(text string) func(string) *metav1.Status {
		return func(account string) *metav1.Status {
			if account == "nap-prepare-jobs" {
				return forbidden(text)
			}
			return nil
		}
	}
	existing := []string{"default", "nap-cp", "nap-prepare-jobs"}
	for name, tc := range map[string]struct {
		judge    func(string) *metav1.Status
		existing []string
		refused  []string
		log      string
	}{
		"a policy against the ServiceAccount default": {judge: onlyOwn, existing: existing,
			log: `what="Service nap-large, Deployment nap-cg (it is new)"`},
		"an SCC of the real ServiceAccount": {judge: standsIn(noSCC), existing: existing,
			log: `as ServiceAccount nap-prepare-jobs: ` + strings.ReplaceAll(noSCC, `"`, `\"`)},
		"a policy against the other ServiceAccount": {judge: standsIn(defaultRefused), existing: existing,
			log: `pods of Deployment nap-cg (`},
		"a quota": {judge: standsIn(overQuota), existing: existing,
			refused: []string{"pods of Deployment nap-cg", "failed quota: q", "[admission.quota]"}},
		"no other ServiceAccount either": {judge: onlyOwn, existing: []string{"default", "nap-cp"},
			log: `pods of Deployment nap-cg (`},
		"every ServiceAccount exists": {judge: onlyOwn, existing: append(existing, "nap-cg"),
			log: `what="Service nap-large, Deployment nap-cg (it is new)"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "", running, liveCP)
			s.judges(newWorkloads)
			s.spec.Workloads.Account = "nap-prepare-jobs"
			s.accounts(tc.judge, tc.existing...)
			if tc.refused != nil {
				s.wantRefused(tc.refused...)
				return
			}
			s.wantDone()
			if !strings.Contains(s.log.String(), tc.log) {
				t.Errorf("the log does not say %q:\n%s", tc.log, s.log.String())
			}
		})
	}
}

// A quota that has no room says nothing against a workload whose pods stay as they are.
func TestPodsThatStayAreNotTried(t *testing.T) {
	s := newStage(t, "", running, liveCP)
	s.judges("left: []\nworkloads:\n- value: controlPlane.cp\n  object:\n    " +
		strings.ReplaceAll(strings.TrimSpace(liveCP), "\n", "\n    ") + "\n")
	s.server.Refuse(-1, http.MethodPost, pods, kubetest.Status(http.StatusForbidden, metav1.StatusReasonForbidden,
		`pods "nap-cp-x" is forbidden: exceeded quota: q, requested: pods=9, used: pods=9, limited: pods=9`))
	s.wantDone()
}

func TestARefusalIsNamedOnce(t *testing.T) {
	claim := finding.Finding{ID: finding.StorageClaims, Object: "PersistentVolumeClaim nap/afs", Found: "it can't grow"}
	again := finding.Finding{ID: finding.AdmissionPolicy, Object: "PersistentVolumeClaim nap/afs", Found: "the API server refuses it"}
	other := finding.Finding{ID: finding.AdmissionPolicy, Object: "Deployment nap/nap-cp", Found: "the API server refuses it"}
	got := once([]finding.Finding{again, claim, other})
	if len(got) != 2 || got[0].ID != claim.ID || got[1].Object != other.Object {
		t.Errorf("%+v", got)
	}
}
