package chart_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// variables are a container's environment by name.
func variables(t *testing.T, p pod, c corev1.Container) map[string]corev1.EnvVar {
	t.Helper()
	byName := map[string]corev1.EnvVar{}
	for _, env := range c.Env {
		if _, twice := byName[env.Name]; twice {
			t.Errorf("%s: container %s sets %s twice, which a server-side apply refuses", p.from, c.Name, env.Name)
		}
		byName[env.Name] = env
	}
	return byName
}

func TestRequiredEnvironment(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		p, c := mainContainer(t, w, objects)
		set := variables(t, p, c)
		for _, want := range w.Env {
			got, found := set[want.Name]
			if !found {
				if !want.Optional {
					t.Errorf("%s: %s lacks %s", p.from, w.Container, want.Name)
				}
				continue
			}
			if err := checkSource(want, got); err != "" {
				t.Errorf("%s: %s: %s %s", p.from, w.Container, want.Name, err)
			}
		}
	})
}

func checkSource(want contract.Env, got corev1.EnvVar) string {
	from := got.ValueFrom
	switch want.From {
	case contract.FromSecret:
		if from == nil || from.SecretKeyRef == nil {
			return "is no secretKeyRef: the value would stand in the Deployment"
		}
		if from.SecretKeyRef.Optional != nil && *from.SecretKeyRef.Optional {
			return "is optional: the service would start without it"
		}
	case contract.FromConfigMap:
		if from == nil || from.ConfigMapKeyRef == nil {
			return "is no configMapKeyRef"
		}
	case contract.FromLiteral:
		if from != nil {
			return "is a reference, want a value"
		}
		if err := want.Format.Check(got.Value); err != nil {
			return err.Error()
		}
	}
	return ""
}

func TestDirectoryIsDescribed(t *testing.T) {
	objects := ours(renderFor(t, target{files: []string{source + "/ci/ldap-values.yaml"}}).Objects)
	p := podOf(t, objects, "Deployment", "nap-cp")
	set := variables(t, p, p.container(t, "control-plane"))
	for _, want := range contract.LDAPEnv() {
		if got, found := set[want.Name]; !found {
			t.Errorf("%s lacks %s", p.from, want.Name)
		} else if err := checkSource(want, got); err != "" {
			t.Errorf("%s: %s %s", p.from, want.Name, err)
		}
	}
	without := podOf(t, render(t).Objects, "Deployment", "nap-cp")
	for name := range variables(t, without, without.container(t, "control-plane")) {
		if strings.HasPrefix(name, "LDAP_") {
			t.Errorf("%s: %s is set though the module is off", without.from, name)
		}
	}
}

func TestPlainDirectoryIsToldOf(t *testing.T) {
	plain := target{files: []string{source + "/ci/ldap-values.yaml"}, set: []string{"global.ldap.url=ldap://directory.example.com"}}
	if notes := renderFor(t, plain).Notes; !strings.Contains(notes, "ldap://directory.example.com in the clear") {
		t.Errorf("NOTES.txt does not say that passwords are not protected:\n%s", notes)
	}
}

// Services that call others trust the user's own authorities, from a file that is really there.
func TestTrustedAuthorities(t *testing.T) {
	objects := ours(render(t, "global.trustedCAs.existingSecret=authority", "global.trustedCAs.existingSecretKey=root.pem").Main())
	for name, container := range map[string]string{"nap-cp": "control-plane", "nap-cg": "channel-gateway", "nap-scheduler": "scheduler", "nap-skills": "skills-content-service"} {
		p := podOf(t, objects, "Deployment", name)
		c := p.container(t, container)
		file := variables(t, p, c)["NODE_EXTRA_CA_CERTS"].Value
		there := false
		for _, mount := range c.VolumeMounts {
			for _, volume := range p.spec().Volumes {
				if volume.Name == mount.Name && volume.Secret != nil && volume.Secret.SecretName == "authority" {
					item := volume.Secret.Items[0]
					there = item.Key == "root.pem" && file == mount.MountPath+"/"+item.Path
				}
			}
		}
		if !there {
			t.Errorf("%s: NODE_EXTRA_CA_CERTS is %q, where no volume puts the key root.pem of the Secret", p.from, file)
		}
	}
}

func TestCouplingsAgree(t *testing.T) {
	renders := map[string][]string{
		"defaults":     nil,
		"every module": everyModule,
		"every setting of workspaces": {
			"global.workspaces.namespace=elsewhere", "global.workspaces.storageClass=fast", "global.workspaces.storageSize=20Gi",
			"global.workspaces.multiReplica=true", "global.workspaces.nodeSelector.pool=agents",
			"global.imageRegistry=registry.example.org", "global.imagePullSecrets[0].name=regcred", "global.namePrefix=acme",
			"global.images.agent.tag=v9",
		},
	}
	for name, set := range renders {
		t.Run(name, func(t *testing.T) {
			objects := ours(render(t, set...).Main())
			under := prefix
			if slices.Contains(set, "global.namePrefix=acme") {
				under = "acme"
			}
			set := map[contract.Member]corev1.EnvVar{}
			for _, w := range workloads(objects) {
				p := podOf(t, objects, "Deployment", w.FullName(under))
				for variable, value := range variables(t, p, p.container(t, w.Container)) {
					set[contract.Member{Workload: w.Name, Env: variable}] = value
				}
			}
			couplings := contract.Couplings()
			if name == "every module" {
				couplings = append(couplings, contract.ModuleCouplings()...)
			}
			for _, coupling := range couplings {
				first := coupling.Members[0]
				for _, other := range coupling.Members[1:] {
					a, b := set[first], set[other]
					a.Name, b.Name = "", ""
					if !reflect.DeepEqual(a, b) {
						t.Errorf("%s of %s is %v, %s of %s is %v: they must agree, or %s",
							first.Env, first.Workload, a, other.Env, other.Workload, b, coupling.Otherwise)
					}
				}
			}
		})
	}
}

func TestAddressesNameTheirServices(t *testing.T) {
	objects := ours(render(t).Main())
	cp := podOf(t, objects, "Deployment", "nap-cp")
	set := variables(t, cp, cp.container(t, "control-plane"))
	// Workspaces run in another namespace, so what they are told must hold there too.
	for variable, want := range map[string]string{
		"CP_SERVICE_URL":       "http://nap-cp.nap.svc:3000",
		"AFS_CONTROLLER_ADDR":  "afs-controller.nap.svc:9100",
		"CG_URL":               "http://nap-cg.nap.svc:3002",
		"SKILLS_CONTENT_URL":   "http://nap-skills.nap.svc:3008",
		"OFFICE_CONVERTER_URL": "http://nap-office-converter.nap.svc:3007",
		"K8S_NAMESPACE":        workspace,
		"AFS_STORAGE_PVC":      platform.SharedClaim,
		"AFS_CONFIGMAP":        platform.FuseConfig,
	} {
		if got := set[variable].Value; got != want {
			t.Errorf("nap-cp: %s = %q, want %q", variable, got, want)
		}
	}
	for ns, config := range map[string]struct{ name, key, want string }{
		workspace: {platform.FuseConfig, platform.FuseConfigKey, `controller_addr = "afs-controller.nap.svc:9100"`},
		namespace: {platform.ControllerConfig, platform.ControllerConfigKey, `listen = "0.0.0.0:9100"`},
	} {
		file := find[*corev1.ConfigMap](t, objects, ns, config.name).Data[config.key]
		if !strings.Contains(file, config.want) {
			t.Errorf("ConfigMap %s/%s: %s does not hold %s:\n%s", ns, config.name, config.key, config.want, file)
		}
	}
}

// AFS listens on addresses of both families where a value asks for it: no other part needs to know.
func TestAFSListensOnIPv6(t *testing.T) {
	for value, address := range map[string]string{"false": "0.0.0.0", "true": "[::]"} {
		objects := ours(render(t, "workspaceRuntime.listenOnIPv6="+value).Main())
		for ns, config := range map[string]struct{ name, key, want string }{
			workspace: {platform.FuseConfig, platform.FuseConfigKey, `listen = "` + address + `:9101"`},
			namespace: {platform.ControllerConfig, platform.ControllerConfigKey, `listen = "` + address + `:9100"`},
		} {
			file := find[*corev1.ConfigMap](t, objects, ns, config.name).Data[config.key]
			if !strings.Contains(file, config.want) {
				t.Errorf("with %s ConfigMap %s/%s does not contain %s:\n%s", value, ns, config.name, config.want, file)
			}
		}
	}
}

func TestPublicURLs(t *testing.T) {
	tests := map[string]struct {
		set        []string
		web, files string
	}{
		"nothing set":            {nil, "http://localhost:30080", "http://files.localhost:30080"},
		"a host":                 {[]string{"global.host=nap.example.org"}, "http://nap.example.org:30080", "http://files.nap.example.org:30080"},
		"another port":           {[]string{"global.host=nap.example.org", "global.exposure.nodePorts.web=31000"}, "http://nap.example.org:31000", "http://files.nap.example.org:31000"},
		"an Ingress":             {[]string{"global.exposure.type=ingress", "global.host=nap.example.org"}, "https://nap.example.org", "https://files.nap.example.org"},
		"an Ingress without TLS": {[]string{"global.exposure.type=ingress", "global.host=nap.example.org", "global.exposure.tls.enabled=false"}, "http://nap.example.org", "http://files.nap.example.org"},
		// A host name made from an address would be none.
		"an address": {[]string{"global.host=198.51.100.7"}, "http://198.51.100.7:30080", ""},
		"both given": {[]string{"global.publicUrls.web=https://nap.example.org", "global.publicUrls.files=https://files.nap.example.org"},
			"https://nap.example.org", "https://files.nap.example.org"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := podOf(t, render(t, test.set...).Main(), "Deployment", "nap-cp")
			set := variables(t, p, p.container(t, "control-plane"))
			if got := set["WEB_PUBLIC_URL"].Value; got != test.web {
				t.Errorf("WEB_PUBLIC_URL = %q, want %q", got, test.web)
			}
			if got := set["FILES_PUBLIC_URL"].Value; got != test.files {
				t.Errorf("FILES_PUBLIC_URL = %q, want %q", got, test.files)
			}
		})
	}
}

func TestAbsentModulesAreNotAnnounced(t *testing.T) {
	p := podOf(t, render(t).Main(), "Deployment", "nap-cp")
	set := variables(t, p, p.container(t, "control-plane"))
	for _, variable := range []string{"BROWSER_PUBLIC_URL", "SANDBOX_PUBLIC_URL", "CONTROL_PLANE_URL"} {
		if got, found := set[variable]; found && got.Value != "" {
			t.Errorf("nap-cp: %s = %q, want none: nothing answers there", variable, got.Value)
		}
	}
}
