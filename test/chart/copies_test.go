package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/secretplan"
)

// recipient is a public key whose private key exists nowhere.
const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

// inBucket are values with copies of backups in a bucket.
func inBucket(more ...string) []string {
	return append([]string{
		"global.backup.s3.endpoint=https://s3.example.com", "global.backup.s3.bucket=example-backups",
		"global.backup.s3.prefix=production", "global.backup.s3.existingSecret=bucket",
		"global.backup.offsite.recipients[0]=" + recipient,
	}, more...)
}

func volumeOf(t *testing.T, job batchv1.Job, name string) corev1.Volume {
	t.Helper()
	pod := job.Spec.Template.Spec
	i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	if i < 0 || !slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name }) {
		t.Fatalf("Job %s mounts no volume %s", job.Name, name)
	}
	return pod.Volumes[i]
}

func TestCopiesInABucket(t *testing.T) {
	objects := render(t, inBucket("global.backup.schedule=30 2 * * *", "global.backup.s3.caSecret=s3-ca", "global.proxy.httpsProxy=http://proxy.example.com:3128",
		"global.backup.s3.sessionTokenKey=AWS_SESSION_TOKEN", "global.backup.s3.pathStyle=always")...).Objects
	plan := backupPlan(t, objects)
	cron := find[*batchv1.CronJob](t, withoutCRDs(objects), namespace, prefix+"-scheduled-backup")
	spec := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup")
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	yes := true
	want := &hook.S3Spec{Endpoint: "https://s3.example.com", Bucket: "example-backups", Prefix: "production", PathStyle: &yes,
		Credentials: "/s3", Secret: "bucket", CA: []string{"/s3-ca/ca.crt"}}
	if diff := cmp.Diff(want, spec.Copies.S3); diff != "" {
		t.Errorf("the bucket (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(hook.CopyRetention{Last: 5, Daily: 7, Weekly: 4, Monthly: 6}, spec.Copies.Retention); diff != "" {
		t.Errorf("the retention (-want +got):\n%s", diff)
	}
	for _, job := range []batchv1.Job{plan.Create, {ObjectMeta: cron.ObjectMeta, Spec: cron.Spec.JobTemplate.Spec}} {
		for _, volume := range []string{"s3", "s3-ca"} {
			if secret := volumeOf(t, job, volume).Secret; secret == nil || !*secret.Optional {
				t.Errorf("Job %s: %s would keep a backup from being made", job.Name, volume)
			}
		}
		saved := map[string][]string{}
		for _, source := range volumeOf(t, job, "escrow").Projected.Sources {
			if !*source.Secret.Optional {
				t.Errorf("Job %s: Secret %s would keep a backup from being made", job.Name, source.Secret.Name)
			}
			for _, item := range source.Secret.Items {
				if item.Path != "secrets/"+source.Secret.Name+"/"+item.Key {
					t.Errorf("the key %s of %s is at %s", item.Key, source.Secret.Name, item.Path)
				}
				saved[source.Secret.Name] = append(saved[source.Secret.Name], item.Key)
			}
		}
		for _, secret := range spec.Copies.Escrow.Secrets {
			if diff := cmp.Diff(saved[secret.Name], secret.Keys); diff != "" {
				t.Errorf("Job %s: Secret %s: what is mounted and what is saved differ:\n%s", job.Name, secret.Name, diff)
			}
		}
		env := job.Spec.Template.Spec.Containers[0].Env
		if !slices.ContainsFunc(env, func(e corev1.EnvVar) bool { return e.Name == "HTTPS_PROXY" }) {
			t.Errorf("Job %s does not use the proxy", job.Name)
		}
	}
	if _, is := podVolume(plan.Restore, "escrow"); is {
		t.Error("a restore gets the Secrets, and has no use for them")
	}
}

func podVolume(job batchv1.Job, name string) (corev1.Volume, bool) {
	volumes := job.Spec.Template.Spec.Volumes
	i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == name })
	if i < 0 {
		return corev1.Volume{}, false
	}
	return volumes[i], true
}

// Every key that is made at random or given by a user is saved: without it a restored installation is another one. What
// the copies themselves need is not: who restores gives the new cluster credentials of its own.
func TestTheEscrowHasEverySecret(t *testing.T) {
	objects := renderAll(t, inBucket("global.backup.s3.caSecret=s3-ca")...).Objects
	spec := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup")
	saved := map[string][]string{}
	for _, secret := range spec.Copies.Escrow.Secrets {
		saved[secret.Name] = secret.Keys
	}
	config := find[*corev1.ConfigMap](t, withoutCRDs(objects), namespace, prefix+"-secrets")
	var plan secretplan.Plan
	if err := yaml.UnmarshalStrict([]byte(config.Data[secretplan.File]), &plan); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, secret := range plan.Secrets.Secrets {
		for key, data := range secret.Data {
			if data.Confidential() {
				count++
				if secret.Name != "bucket" && !slices.Contains(saved[secret.Name], key) {
					t.Errorf("the key %s of Secret %s is not saved", key, secret.Name)
				}
			}
		}
	}
	if count < 8 {
		t.Errorf("the plan has %d keys", count)
	}
	for _, name := range []string{"bucket", "s3-ca"} {
		if saved[name] != nil {
			t.Errorf("of Secret %s %v is saved", name, saved[name])
		}
	}
}

func TestTheEscrowHasTheValues(t *testing.T) {
	objects := render(t, inBucket("global.host=agents.example.com")...).Objects
	secret := find[*corev1.Secret](t, withoutCRDs(objects), namespace, prefix+"-backup-values")
	var values map[string]any
	if err := yaml.Unmarshal(secret.Data["values.yaml"], &values); err != nil {
		t.Fatal(err)
	}
	if chart, revision := string(secret.Data["chart"]), string(secret.Data["revision"]); chart == "" || revision != "1" {
		t.Errorf("the values are of chart %q, revision %q", chart, revision)
	}
	global, _ := values["global"].(map[string]any)
	if global["host"] != "agents.example.com" {
		t.Errorf("the host is %v", global["host"])
	}
	for name, part := range values {
		if table, is := part.(map[string]any); is && name != "global" && table["global"] != nil {
			t.Errorf("%s repeats the global values", name)
		}
	}
	for _, object := range ours(render(t).Objects) {
		if object.GetKind() == "Secret" && object.Hook == nil {
			t.Errorf("%s is rendered without copies", object)
		}
	}
}

func TestCopiesOnAPVC(t *testing.T) {
	objects := render(t, "global.backup.offsite.existingClaim=nfs-backups", "global.backup.offsite.folder=production",
		"global.backup.offsite.recipients[0]="+recipient, "global.backup.offsite.retention.last=2").Objects
	plan := backupPlan(t, objects)
	spec := specOf[hook.BackupSpec](t, objects, prefix+"-backup", "backup")
	if spec.Copies.S3 != nil || spec.Copies.Dir != "/copies" || spec.Copies.Prefix != "production" || spec.Copies.Retention.Last != 2 {
		t.Errorf("it says %+v", spec.Copies)
	}
	if claim := volumeOf(t, plan.Create, "copies").PersistentVolumeClaim; claim.ClaimName != "nfs-backups" {
		t.Errorf("it mounts PVC %s", claim.ClaimName)
	}
	if _, is := podVolume(plan.Create, "s3"); is {
		t.Error("it mounts credentials for a bucket")
	}
	guard := guardSpec(t, objects)
	if !slices.ContainsFunc(guard.Claims, func(c hook.ClaimCheck) bool { return c.Name == "nfs-backups" && c.Required }) {
		t.Error("an install does not look for the PVC")
	}
}

func TestCopiesThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		set  []string
		says string
	}{
		{"no recipients", []string{"global.backup.offsite.recipients=null"}, "global.backup.offsite.recipients is empty"},
		{"a private key", []string{"global.backup.offsite.recipients[0]=AGE-SECRET-KEY-1SECRETSECRETSECRET"}, "recipients[0] is a private key"},
		{"a private key for drills", []string{"global.backup.offsite.drillRecipients[0]=age-secret-key-1secretsecretsecret"}, "drillRecipients[0] is a private key"},
		{"another key", []string{"global.backup.offsite.recipients[0]=ssh-ed25519 SECRETSECRET"}, "is no public key of age"},
		{"keys that do not mix", []string{"global.backup.offsite.drillRecipients[0]=age1pq1" + strings.Repeat("q", 100)}, "keys of one kind"},
		{"no TLS", []string{"global.backup.s3.endpoint=http://s3.example.com"}, "plainHTTP=true"},
		{"an endpoint with a path", []string{"global.backup.s3.endpoint=https://s3.example.com/backups"}, "no address of a service"},
		{"no endpoint", []string{"global.backup.s3.endpoint="}, "no address of a service"},
		{"no bucket", []string{"global.backup.s3.bucket="}, "set global.backup.s3.bucket"},
		{"no credentials", []string{"global.backup.s3.existingSecret="}, "needs credentials"},
		{"two places", []string{"global.backup.offsite.existingClaim=nfs"}, "leave one of them empty"},
		{"the same PVC", []string{"global.backup.offsite.existingClaim=" + prefix + "-backups"}, "other storage"},
		{"a folder above", []string{"global.backup.s3.prefix=a/../b"}, "without . and .."},
		{"no backups", []string{"global.backup.enabled=false"}, "nothing to copy"},
		{"a Secret twice", []string{"global.backup.s3.existingSecret=keys", "global.secrets.existingSecret=keys"}, "global.backup.s3) must each name another one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := tryRender(target{set: inBucket(test.set...)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("want %q, got %v", test.says, err)
			}
			if strings.Contains(strings.ToUpper(err.Error()), "SECRETSECRET") {
				t.Errorf("the key is in: %v", err)
			}
		})
	}
	if _, err := tryRender(target{set: inBucket("global.backup.s3.endpoint=http://minio:9000", "global.backup.s3.plainHTTP=true")}); err != nil {
		t.Error(err)
	}
}
