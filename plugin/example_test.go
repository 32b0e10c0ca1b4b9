package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/images"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/podexec/podexectest"
	"github.com/neutree-ai/packaging/internal/requirement"
	"github.com/neutree-ai/packaging/internal/requirement/requirementtest"
	main "github.com/neutree-ai/packaging/plugin"
)

// example is what happens when one of the examples is typed.
type example struct {
	// cluster writes the kubeconfig of a double of the cluster.
	cluster func(*testing.T) string
	input   string
	exit    int
	// stdout and stderr are parts of what is printed, files the files that are left, with a part of their content.
	stdout, stderr string
	files          map[string]string
	// before prepares the folder that the line is typed in.
	before func(t *testing.T, dir string)
}

// examples are the lines of all examples in --help.
var examples = map[string]example{
	"helm neutree version":         {stdout: "go1."},
	"helm neutree version -o json": {stdout: `"go":"go1.`},

	"helm neutree recover neutree -n nap":       {cluster: halfWay, input: "y\n", stderr: "Revision 2 is marked failed."},
	"helm neutree recover neutree -n nap --yes": {cluster: halfWay, stderr: "Revision 2 is marked failed."},

	"helm neutree secrets check -n nap":         {cluster: withKeys, exit: 2, stdout: "Secrets check found errors. Fix them and run it again."},
	"helm neutree secrets check -n nap -o json": {cluster: withKeys, exit: 2, stdout: `"id": "secrets.shared"`},
	"helm neutree secrets rotate jwt -n nap --dry-run": {
		cluster: withKeys, stdout: "Deployment nap-cp: restart, since it reads nap-cp-secret/JWT_SECRET\nWhat users notice: all users are logged out",
	},
	"helm neutree secrets rotate jwt -n nap":               {cluster: withKeys, input: "y\n", stderr: "jwt has a new value: restarted nap-cp"},
	"helm neutree secrets rotate service-key -n nap --yes": {cluster: withKeys, stderr: "service-key has a new value: no service reads it"},
	"helm neutree secrets rotate credential-key -n nap --dry-run": {
		cluster: withKeys, stdout: "in one transaction\nDeployment nap-cp: stopped meanwhile, since it reads nap-cp-secret/CREDENTIAL_ENCRYPTION_KEY",
	},
	"helm neutree secrets export -n nap -o secrets.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p": {
		cluster: withKeys, stderr: "secrets.age has the Secrets nap-cp-secret", files: map[string]string{"secrets.age": "age-encryption.org/v1"},
	},

	"helm neutree backup create -n nap":                                       {cluster: withBackups, stdout: "20"},
	"helm neutree backup create -n nap --reason 'before moving to new nodes'": {cluster: withBackups, stdout: "20"},
	"helm neutree backup list -n nap":                                         {cluster: withBackups, stdout: "20261123-141500"},
	"helm neutree backup list -n nap -o json":                                 {cluster: withBackups, stdout: `"name": "20261123-141500"`},
	"helm neutree backup drill -n nap":                                        {cluster: withBackups, stdout: "result          passed"},
	"helm neutree backup drill 20261123-141500 -n nap -o json":                {cluster: withBackups, stdout: `"passed": true`},
	"helm neutree backup delete 20261123-141500 -n nap": {
		cluster: withBackups, stderr: "backup 20261123-141500 is deleted",
	},
	"helm neutree backup restore 20261123-141500 -n nap": {
		cluster: withBackups, input: "neutree\n", stderr: "what was there before is backup before-restore-",
	},

	"helm neutree backup list --from s3://backups/neutree": {
		exit: 2, stderr: "there are no credentials for S3 in the environment variables",
	},
	"helm neutree backup verify --from ./backups --identity key.txt": {
		before: withCopies, stderr: "the copy is decrypted, and its files are those that were saved",
	},
	"helm neutree backup verify 20261123-141500 --from ./backups": {
		before: withCopies, stderr: "not checked: whether it can be decrypted",
	},
	"helm neutree backup pull 20261123-141500 . -n nap --recipient " +
		"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg": {
		cluster: withBackups, stdout: "20261123-141500.tar.age\n",
		files: map[string]string{"20261123-141500.tar.age": "age-encryption.org/v1"},
	},
	"helm neutree backup pull latest ./restored --from ./backups --identity key.txt --plain": {
		before: withCopies, stdout: "restored/20261123-141500\n",
		files: map[string]string{"restored/20261123-141500/controller.db": "rows of AFS's"},
	},
	"helm neutree backup push ./20261123-141500 -n nap": {
		cluster: withBackups, before: withFolder, stdout: "20261123-141500\n",
	},
	"helm neutree backup push 20261123-141500.tar.age -n nap --identity key.txt": {
		cluster: withBackups, before: withFile, stdout: "20261123-141500\n",
	},
	"helm neutree backup push latest -n nap --from ./backups --identity key.txt": {
		cluster: withBackups, before: withCopies, stdout: "20261123-141500\n", stderr: "backup complete",
	},
	"helm neutree backup restore latest -n nap --from ./backups --identity key.txt --dry-run": {
		cluster: emptyCluster, before: withCopies, stdout: "host: nap.example.com", stderr: "create namespace nap",
	},

	"helm neutree images list": {stdout: "ghcr.io/neutree-ai/afs:latest\n"},
	"helm neutree images list ./charts/neutree -f values.yaml -o wide": {stdout: "global.images.controlPlane\n"},
	"helm neutree images list --all -o skopeo":                         {stdout: "registry.k8s.io:\n  images:\n    pause:\n    - \"3.9\"\n"},
	"helm neutree images list -o crane --to registry.example.com": {
		stdout: "crane copy ghcr.io/neutree-ai/afs:latest registry.example.com/neutree-ai/afs:latest\n",
	},
	"helm neutree images list --why pause --all": {stdout: "global.images.pause\n"},

	// The proxy of the environment refuses connections.
	"helm neutree images lock -o images.lock.yaml":                                 {exit: 2, stderr: "14 things must be changed first"},
	"helm neutree images lock ./charts/neutree -f values.yaml -o images.lock.yaml": {exit: 2, stderr: "[images.registry]"},
	"helm neutree images lock --all --platform linux/amd64,linux/arm64 -o images.lock.yaml": {
		exit: 2, stderr: "22 things must be changed first",
	},
	"helm neutree images lock --lock images.lock.yaml --values-only -o digests.yaml": {
		stderr: "no value can pin ghcr.io/neutree-ai/agent-platform/nap-agent-goose:v0.2.0",
		files:  map[string]string{"digests.yaml": "tag: 1.30.0@sha256:0000"},
	},

	"helm neutree images mirror images.lock.yaml registry.example.com -o registry.yaml": {
		exit: 2, stderr: "14 things must be changed first",
	},
	// No such file.
	"helm neutree images mirror images.lock.yaml registry.example.com/mirror --jobs 8 --dst-auth-file push.json": {
		exit: 1, stderr: "read the credentials of push.json",
	},
	"helm neutree images verify images.lock.yaml -n nap": {cluster: withLockedPod, stderr: "containers that run images of the lock: 1;"},
	"helm neutree images verify images.lock.yaml --registry registry.example.com": {
		exit: 2, stderr: "registry.example.com could not be asked",
	},
	"helm neutree images verify images.lock.yaml --sources": {exit: 2, stderr: "registry ghcr.io could not be asked"},

	"helm neutree preflight neutree ./charts/neutree -n nap -f values.yaml": {
		cluster: readOnlyCluster, exit: 2, stdout: "storage.class",
	},
	"helm neutree preflight -n nap -f values.yaml --no-pods --only storage,exposure": {
		cluster: readOnlyCluster, exit: 2, stdout: "storage.class",
	},
	// On that cluster the checks would fail for the five minutes of --wait. One that does not answer ends it before.
	"helm neutree preflight -n nap -f values.yaml --wait 5m --timeout 10m --strict -o junit > preflight.xml": {
		cluster: noCluster, exit: 1, stderr: "the API server does not answer", files: map[string]string{"preflight.xml": ""},
	},
	`helm neutree preflight -n nap -o go-template=` +
		`'{{range .results}}{{if eq .status "fail"}}{{.id}}{{"\n"}}{{end}}{{end}}'`: {
		cluster: readOnlyCluster, exit: 2, stdout: "storage.class\n",
	},

	"helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --namespaces | kubectl apply -f -": {
		cluster: readOnlyCluster, files: map[string]string{"applied.yaml": "kind: Namespace"},
	},
	"helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --revoke" +
		" | kubectl delete --ignore-not-found -f -": {
		cluster: readOnlyCluster, files: map[string]string{"applied.yaml": "kind: ClusterRoleBinding"},
	},
	"helm neutree rbac neutree ./charts/neutree -n nap -f values.yaml --subject serviceaccount:ci:deployer" +
		" | kubectl apply -f -": {
		cluster: readOnlyCluster, files: map[string]string{"applied.yaml": "name: deployer"},
	},
}

// Every line of every example does what it says, typed as it is into a shell, in a folder with the chart and a values
// file.
func TestEveryExampleRuns(t *testing.T) {
	bin := filepath.Join(install(t), "bin")
	// Helm takes the plugin's name off and starts it with the rest.
	program(t, bin, "helm", `test "$1" = neutree && shift && exec helm-neutree "$@"`)
	program(t, bin, "kubectl", `case "$*" in
"apply -f -"|"delete --ignore-not-found -f -") exec cat > applied.yaml;;
*) exit 1;;
esac`)
	program(t, bin, "pg_restore", "echo '1; 0 TABLE DATA public users nap'")
	chart := requirementtest.Umbrella(t)
	left := map[string]bool{}
	for line := range examples {
		left[line] = true
	}
	for _, line := range exampleLines(t, main.NewRootCommand()) {
		want, known := examples[line]
		if !known {
			t.Errorf("no test knows what this example does: add it to the table: %s", line)
			continue
		}
		if !left[line] {
			// A parent shows it as well.
			continue
		}
		delete(left, line)
		t.Run(line, func(t *testing.T) { want.run(t, line, bin, chart) })
	}
	for line := range left {
		t.Errorf("this is no example any more: %s", line)
	}
}

func (want example) run(t *testing.T, line, bin, chart string) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "charts", "neutree"), os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	values := "global: {host: nap.example.com, storage: {shared: {storageClass: nfs}}}\n"
	if err := os.WriteFile(filepath.Join(dir, "values.yaml"), []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	if want.before != nil {
		want.before(t, dir)
	}
	if strings.Contains(line, "--lock ") || strings.Contains(line, "images verify") ||
		strings.Contains(line, "images mirror") {
		lockFile(t, chart, filepath.Join(dir, "images.lock.yaml"))
	}
	kubeconfig := os.DevNull
	if want.cluster != nil {
		kubeconfig = want.cluster(t)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HTTPS_PROXY=http://127.0.0.1:9", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(want.input)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var failed *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want.exit {
		t.Errorf("exit code %d, want %d", got, want.exit)
	}
	if !strings.Contains(stdout.String(), want.stdout) || !strings.Contains(stderr.String(), want.stderr) {
		t.Errorf("want %q on stdout and %q on stderr", want.stdout, want.stderr)
	}
	for name, content := range want.files {
		if raw, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(raw), content) {
			t.Errorf("want %q in %s: %v\n%s", content, name, err, raw)
		}
	}
	if t.Failed() {
		t.Logf("on stdout:\n%s\non stderr:\n%s", stdout.String(), stderr.String())
	}
}

// lockFile writes a lock of a chart.
func lockFile(t *testing.T, path, file string) {
	t.Helper()
	set, err := requirement.Load(requirement.Options{Chart: path, Release: "neutree", Namespace: "nap",
		Kubernetes: chart.Kubernetes{Version: images.DefaultKubernetes}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := images.Of(set)
	if err != nil {
		t.Fatal(err)
	}
	lock := &images.Lock{Version: images.LockVersion, Chart: list.Chart, Platforms: []string{"linux/amd64"}}
	for i, image := range list.Images {
		lock.Images = append(lock.Images, images.Locked{Image: image.Ref, Values: []string{image.Uses[0].Value},
			Digest: fmt.Sprintf("sha256:%064x", i)})
	}
	var text strings.Builder
	if err := lock.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withLockedPod holds a pod that runs an image of lockFile.
func withLockedPod(t *testing.T) string {
	server := kubetest.New(t, napNamespace, `apiVersion: v1
kind: Pod
metadata: {name: nap-cp-1, namespace: nap}
status:
  containerStatuses:
    - {name: cp, image: 'ghcr.io/x:v1', imageID: 'ghcr.io/x@sha256:`+fmt.Sprintf("%064x", 1)+`'}
`)
	return kubeconfigOf(t, server.Config().Host)
}

// exampleLines are the command lines in the examples of a command and of those below it. One that runs has an example.
func exampleLines(t *testing.T, cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if cmd.Runnable() && len(lines) == 0 {
		t.Errorf("%s has no example", cmd.CommandPath())
	}
	for _, below := range cmd.Commands() {
		lines = append(lines, exampleLines(t, below)...)
	}
	return lines
}

// program writes a small program for the shell to find.
func program(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// kubeconfigOf writes one for the API server at an address.
func kubeconfigOf(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: one
clusters: [{name: one, cluster: {server: %q}}]
users: [{name: one}]
contexts: [{name: one, context: {cluster: one, user: one}}]
`, address)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noCluster is one that does not answer.
func noCluster(t *testing.T) string { return kubeconfigOf(t, "http://127.0.0.1:9") }

const napNamespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"

// halfWay holds a release whose upgrade was killed.
func halfWay(t *testing.T) string {
	server := kubetest.New(t, napNamespace, storedRevision(t, 1, "deployed"), storedRevision(t, 2, "pending-upgrade"))
	return kubeconfigOf(t, server.Config().Host)
}

// withKeys holds a release with two keys of the same value, one of which its service reads.
func withKeys(t *testing.T) string {
	server := kubetest.New(t, napNamespace, storedRevision(t, 1, "deployed"), `apiVersion: v1
kind: ConfigMap
metadata:
  name: nap-secrets
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: secrets, app.kubernetes.io/instance: neutree}
data:
  secrets-plan.yaml: |
    release: neutree
    chart: neutree 0.2.0
    secrets:
      namespace: nap
      secrets:
        - name: nap-cp-secret
          data:
            JWT_SECRET: {generate: {bytes: 32}}
            PLATFORM_SERVICE_KEY: {generate: {bytes: 32}}
            CREDENTIAL_ENCRYPTION_KEY: {generate: {bytes: 32}}
    restart: [nap-cp]
    record: nap-database
    restoreNote: nap-restore
    rotations:
      jwt: {secret: nap-cp-secret, keys: [JWT_SECRET]}
      service-key: {secret: nap-cp-secret, keys: [PLATFORM_SERVICE_KEY]}
      credential-key: {secret: nap-cp-secret, keys: [CREDENTIAL_ENCRYPTION_KEY]}
    job:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-rotate}
      spec: {template: {spec: {containers: [{name: rotate, image: nap-hooks}]}}}
    keyring: nap-credential-key-rotation
---
apiVersion: v1
kind: Secret
metadata: {name: nap-cp-secret, namespace: nap}
data:
  JWT_SECRET: YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=
  PLATFORM_SERVICE_KEY: YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=
  CREDENTIAL_ENCRYPTION_KEY: YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=
---
apiVersion: v1
kind: Secret
metadata: {name: nap-database, namespace: nap}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec:
  selector: {matchLabels: {app: nap-cp}}
  template: {spec: {containers: [{name: cp, env: [{name: JWT_SECRET, valueFrom: {secretKeyRef: {name: nap-cp-secret, key: JWT_SECRET}}},
    {name: CREDENTIAL_ENCRYPTION_KEY, valueFrom: {secretKeyRef: {name: nap-cp-secret, key: CREDENTIAL_ENCRYPTION_KEY}}}]}]}}
status: {replicas: 1, updatedReplicas: 1, availableReplicas: 1}`)
	return kubeconfigOf(t, server.Config().Host)
}

// withBackups holds a release with one backup, on a cluster whose Jobs end well at once.
func withBackups(t *testing.T) string {
	server := kubetest.New(t, napNamespace, `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: nap-backups, namespace: nap}
spec: {resources: {requests: {storage: 10Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nap-cp, namespace: nap}
spec: {replicas: 1}
status: {availableReplicas: 1}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: nap-backup
  namespace: nap
  labels: {app.kubernetes.io/part-of: neutree, app.kubernetes.io/component: backup, app.kubernetes.io/instance: neutree}
data:
  backup-plan.yaml: |
    release: neutree
    revision: 1
    claim: {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: nap-backups}}
    create:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-backup}
      spec: {template: {spec: {containers: [{name: backup, image: postgresql, command: [/neutree/nap-hooks]}]}}}
    restore:
      apiVersion: batch/v1
      kind: Job
      metadata: {name: nap-restore}
      spec: {template: {spec: {containers: [{name: restore, image: postgresql}]}}}
    drill:
      live: nap-pg
      record: nap-backup-drill
      cluster: {apiVersion: postgresql.cnpg.io/v1, kind: Cluster, metadata: {name: nap-drill}, spec: {instances: 1}}
      job:
        apiVersion: batch/v1
        kind: Job
        metadata: {name: nap-drill}
        spec: {template: {spec: {containers: [{name: backup, image: postgresql}]}}}
    writers: [nap-cp]`)
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	server.OnChange(func(number int) {
		// The double is locked until it has answered.
		wait.Go(func() { finish(server, server.Changes()[number-1]) })
	})
	return kubeconfigOf(t, podexectest.Serve(t, server.Config().Host, napHooks))
}

// finish gives a Job that was just created a pod and a good end.
func finish(server *kubetest.Server, made kubetest.Request) {
	if made.Method != "POST" || !strings.HasSuffix(made.Path, "/jobs") {
		return
	}
	job := unstructured.Unstructured{Object: made.Body}
	containers, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
	name, message := job.GetName(), "done"
	if strings.HasPrefix(name, "nap-backup-list-") {
		message = `{"backups":[{"name":"20261123-141500","schema":"131_x","bytes":2048,"revision":2,"reason":"by hand"}]}`
	}
	if name == "nap-drill" {
		message = `{"backup":"20261123-141500","passed":true,"tables":3,"rows":"7 in 3 tables, as recorded"}`
	}
	phase, state := "Succeeded", fmt.Sprintf("terminated: {exitCode: 0, message: %q}", message)
	if strings.HasPrefix(name, "nap-backup-copy-") {
		// It waits for commands.
		phase, state = "Running", "running: {}"
	}
	server.Put(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %[1]s-x
  namespace: nap
  labels: {batch.kubernetes.io/controller-uid: %[1]s, batch.kubernetes.io/job-name: %[1]s}
status:
  phase: %[2]s
  containerStatuses: [{name: %[4]s, image: postgresql, state: {%[3]s}}]`,
		name, phase, state, containers[0].(map[string]any)["name"]))
	if phase == "Running" {
		return
	}
	server.Put(fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %[1]s, namespace: nap, uid: %[1]s}
status: {conditions: [{type: Complete, status: "True"}]}`, name))
}
