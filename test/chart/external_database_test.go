package chart_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/hook"
)

// external are the settings of a database from outside.
var external = []string{
	"global.database.mode=external", "cloudnative-pg.enabled=false", "global.database.name=agents",
	"global.database.external.host=postgres.example.org", "global.database.external.port=6432",
	"global.database.external.existingSecret=role", "global.database.external.userKey=user", "global.database.external.passwordKey=word",
}

// derivedURL is how the hooks make the address that all services read.
func derivedURL(t *testing.T, set ...string) hook.PostgresURL {
	t.Helper()
	objects := renderAll(t, append(slices.Clone(external), set...)...).Objects
	for _, secret := range prepareSpec(t, objects).Secrets.Secrets {
		if secret.Name == "nap-database" {
			return *secret.Data["url"].PostgresURL
		}
	}
	t.Fatal("prepare.yaml does not derive nap-database")
	return hook.PostgresURL{}
}

func TestExternalDatabaseAddress(t *testing.T) {
	for name, test := range map[string]struct {
		set  []string
		want hook.PostgresURL
	}{
		"parts": {nil, hook.PostgresURL{Host: "postgres.example.org", Port: 6432, Database: "agents", SSLMode: "verify-full",
			UserFrom: hook.SecretRef{Secret: "role", Key: "user"}, PasswordFrom: hook.SecretRef{Secret: "role", Key: "word"}}},
		"a whole address": {[]string{"global.database.external.host=", "global.database.external.urlKey=uri", "global.database.external.sslmode=require"},
			hook.PostgresURL{SSLMode: "require", URLFrom: &hook.SecretRef{Secret: "role", Key: "uri"}}},
		"an authority": {[]string{"global.database.external.host=", "global.database.external.urlKey=uri", "global.database.external.caSecret=authority"},
			hook.PostgresURL{SSLMode: "verify-full", RootCert: "/etc/neutree/database-ca/ca.crt", URLFrom: &hook.SecretRef{Secret: "role", Key: "uri"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, derivedURL(t, test.set...)); diff != "" {
				t.Errorf("prepare.yaml: nap-database (-want +got):\n%s", diff)
			}
		})
	}
}

// Whoever reads the address finds the authority's certificate where the address says.
func TestAuthorityOfTheDatabaseIsMountedWhereItsAddressIsRead(t *testing.T) {
	for name, secret := range map[string]string{"of its own": "authority", "that of the role": "role", "that of all services": "everybodys"} {
		t.Run(name, func(t *testing.T) {
			objects := ours(renderAll(t, append(slices.Clone(external), "global.trustedCAs.existingSecret=everybodys",
				"global.database.external.caSecret="+secret, "global.database.external.caSecretKey=root.pem")...).Objects)
			readers := 0
			for _, p := range pods(t, objects) {
				for _, c := range p.containers() {
					if _, reads := variables(t, p, c)["DATABASE_URL"]; !reads {
						continue
					}
					readers++
					mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/neutree/database-ca" })
					volume := slices.ContainsFunc(p.spec().Volumes, func(v corev1.Volume) bool {
						return v.Name == "database-ca" && v.Secret.SecretName == secret && v.Secret.Items[0] == corev1.KeyToPath{Key: "root.pem", Path: "ca.crt"}
					})
					if !mounted || !volume {
						t.Errorf("%s: container %s reads DATABASE_URL and finds no certificate of the authority", p.from, c.Name)
					}
				}
			}
			// Seven services, each with an init container, and five Jobs.
			if readers != 19 {
				t.Errorf("%d containers read DATABASE_URL, want 19", readers)
			}
			if !madeSecrets(t, objects)[secret]["root.pem"] {
				t.Errorf("prepare.yaml does not check the key root.pem of Secret %s", secret)
			}
		})
	}
}

// Services verify the Cluster's server by the operator's authority, of which they see the certificate alone, and a renewed
// one; pods of version 0.1.0, which read the key url, have none.
func TestServicesConnectToTheClusterWithTLS(t *testing.T) {
	for sslmode, key := range map[string]string{"verify-full": "tls-url", "disable": "url"} {
		objects := ours(renderAll(t, "global.database.cnpg.sslmode="+sslmode).Objects)
		readers := 0
		for _, p := range pods(t, objects) {
			for _, c := range p.containers() {
				address, reads := variables(t, p, c)["DATABASE_URL"]
				if !reads {
					continue
				}
				readers++
				if ref := address.ValueFrom.SecretKeyRef; ref.Name != "nap-database" || ref.Key != key {
					t.Errorf("sslmode %s, %s: container %s reads %v", sslmode, p.from, c.Name, ref)
				}
				mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
					return m.MountPath == "/etc/neutree/database-ca" && m.SubPath == ""
				})
				certificate := slices.ContainsFunc(p.spec().Volumes, func(v corev1.Volume) bool {
					return v.Name == "database-ca" && v.Secret.SecretName == "nap-pg-ca" &&
						slices.Equal(v.Secret.Items, []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}})
				})
				if mounted != certificate || mounted != (sslmode == "verify-full") {
					t.Errorf("sslmode %s, %s: container %s: mounted %t, certificate alone %t", sslmode, p.from, c.Name, mounted, certificate)
				}
			}
		}
		if readers != 19 {
			t.Errorf("%d containers read DATABASE_URL, want 19", readers)
		}
		spec := prepareSpec(t, objects)
		if spec.Migrate.URL.Key != key {
			t.Errorf("sslmode %s: prepare reads the key %s", sslmode, spec.Migrate.URL.Key)
		}
		made := madeSecrets(t, objects)["nap-database"]
		if !made["url"] || made["tls-url"] != (sslmode == "verify-full") {
			t.Errorf("sslmode %s: Secret nap-database has the keys %v", sslmode, made)
		}
	}
}

func TestExternalDatabaseLeavesNothingOfTheOperator(t *testing.T) {
	objects := renderAll(t, external...).Objects
	for _, object := range objects {
		if strings.Contains(object.YAML, "cnpg") || strings.Contains(object.YAML, "nap-pg") {
			t.Errorf("%s names CloudNativePG or its Cluster:\n%s", object, object.YAML)
		}
	}
	if got := bootstrapSpec(t, objects).Database; got.Mode != "external" || got.External == nil || got.External.Connections != 239 {
		t.Errorf("bootstrap.yaml: database = %+v, want an external one that allows 239 connections", got)
	}
	prepare := jobs(t, objects)["prepare"]
	if hooks := prepare.from.Hook.Events; !slices.Contains(hooks, "pre-install") {
		t.Errorf("%s: hook %v, want pre-install among them: what the database lacks is found before anything is made", prepare.from, hooks)
	}
	spec := prepareSpec(t, objects)
	if spec.Migrate.External == nil || spec.Migrate.Cluster != "" || spec.Gate.Manifest != "" || spec.Pull.Cluster != nil {
		t.Errorf("prepare.yaml = %+v, want an external database and no Cluster", spec)
	}
}
