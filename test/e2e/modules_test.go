//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/test/relay"
)

// modulesOn turns every module on. The relay runs on the node whose address users know.
func (e *environment) modulesOn(t *testing.T, more string) string {
	t.Helper()
	values := fmt.Sprintf(`
global:
  modules: {sandbox: {enabled: true}, browser: {enabled: true}, ldap: {enabled: true}}
  ldap:
    url: ldaps://directory.%[1]s.svc
    bindDN: cn=reader,dc=example,dc=org
    existingSecret: directory-reader
    searchBase: ou=people,dc=example,dc=org
    searchFilter: (objectClass=inetOrgPerson)
    attributes: {username: uid}
  trustedCAs: {existingSecret: own-authority}
sandbox:
  openSandbox: {url: "http://opensandbox-server.%[1]s.svc"}
  imageWarmer: {enabled: true}
browser:
  turn: {host: %[2]s}
  coturn: {nodeSelector: {kubernetes.io/hostname: %[3]s}}
`, neighbours, e.nodeIP, e.nodeName) + more
	return e.valuesFile(t, "modules.yaml", values)
}

func (e *environment) valuesFile(t *testing.T, name, values string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Modules are turned on and off by upgrades, work, and leave nothing but their keys.
func TestModules(t *testing.T) {
	env := newEnvironment(t)
	r := env.release(env.helm4, "neutree", "nap")
	env.meetNeighbours(t)
	t.Cleanup(func() { r.purge(t) })
	own := newAuthority(t)
	env.putSecret(t, neighbours, "directory-tls", own.sign(t, "directory."+neighbours+".svc"))
	env.applyNeighbour(t, "opensandbox", "opensandbox-server")
	env.applyNeighbour(t, "directory", "directory")

	core := []string{"--wait", "--set", "global.host=" + env.nodeIP, "--set", "global.publicUrls.sandbox=http://sandbox.nap.test:30086"}
	r.mustUpgrade(t, core...)
	before := r.objectNames(t)
	env.putSecret(t, r.namespace, "own-authority", map[string]string{"ca.crt": own.pem})
	env.putSecret(t, r.namespace, "directory-reader", map[string]string{"password": "readers-own-password"})
	modules := env.modulesOn(t, "")

	t.Run("a browser without sandboxes is refused", func(t *testing.T) {
		got := r.upgrade(t.Context(), append(core, "-f", modules, "--set", "global.modules.sandbox.enabled=false")...)
		wantRefused(t, got, 20*time.Second, "global.modules.browser.enabled needs sandboxes", "global.modules.sandbox.enabled")
	})

	got := r.mustUpgrade(t, append(core, "-f", modules)...)
	wantNotes(t, got, "Users watch browsers through "+env.nodeIP, "browser.coturn.nodeSelector")
	user := r.login(t)
	key := r.secretValue(t, "nap-sandbox-secret", "SERVICE_KEY")

	t.Run("sandboxes", func(t *testing.T) {
		service := env.user(t, "http://sandbox.nap.test:30086", nil)
		id := service.makeSandbox(t, key)
		service.do(t, http.MethodPost, "/api/sandboxes", map[string]string{"image": "docker.io/library/node:22-bookworm"}, http.StatusUnauthorized, nil)
		preview := env.user(t, "http://"+id+"-8000.sandbox.nap.test:30086", nil)
		preview.wantPreview(t, id)
		service.signIn(t, user)
		service.do(t, http.MethodDelete, "/api/sandboxes/"+id, nil, http.StatusNotFound, nil)
	})

	t.Run("browsers", func(t *testing.T) {
		service := env.user(t, fmt.Sprintf("http://%s:30085", env.nodeIP), nil)
		service.do(t, http.MethodPost, "/api/browsers", nil, http.StatusUnauthorized, nil)
		service.signIn(t, user)
		var browser struct {
			ID         string         `json:"id"`
			IceServers []relay.Server `json:"iceServers"`
		}
		service.do(t, http.MethodPost, "/api/browsers", nil, http.StatusCreated, &browser)
		if want := fmt.Sprintf("turn:%s:3478?transport=tcp", env.nodeIP); browser.IceServers[0].URLs[0] != want {
			t.Fatalf("the relay is %s, want %s", browser.IceServers[0].URLs[0], want)
		}
		here, err := browser.IceServers[0].Allocate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		t.Run("the picture comes by the relay", func(t *testing.T) {
			var picture struct{ Address string }
			service.do(t, http.MethodPost, "/api/browsers/"+browser.ID+"/signal", map[string]string{"address": here.LocalAddr().String()}, http.StatusOK, &picture)
			wantEcho(t, here, picture.Address)
		})
		t.Run("the relay leads into no private network", func(t *testing.T) {
			for _, peer := range []string{r.podIP(t, r.namespace, "app=nap-cp") + ":3000", "10.0.0.1:80", "127.0.0.1:3478", "169.254.169.254:80"} {
				if err := here.Permit(peer); err == nil || !strings.Contains(err.Error(), "403") {
					t.Errorf("peer %s: %v, want it refused with 403", peer, err)
				}
			}
		})
		t.Run("the relay knows its users", func(t *testing.T) {
			guess, err := relay.NewServer(env.nodeIP, 3478, "a guess", "sandbox", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := guess.Allocate(t.Context()); err == nil {
				a.Close()
				t.Error("the relay gives an address for a guessed secret")
			}
		})
		r.wantHidden(t, "app=coturn", r.secretValue(t, "nap-browser-secret", "TURN_AUTH_SECRET"))
	})

	t.Run("log-in by a directory", func(t *testing.T) {
		for _, wrong := range [][2]string{{"ada", "another-password"}, {"robot", "robots-own-password"}, {"*", "adas-own-password"}, {"ada)(uid=*", "adas-own-password"}, {"nobody", "x"}} {
			env.user(t, user.base, nil).logIn(t, wrong[0], wrong[1], http.StatusUnauthorized)
		}
		ada := env.user(t, user.base, nil)
		ada.logIn(t, "ada", "adas-own-password", http.StatusOK)
		var me map[string]string
		ada.do(t, http.MethodGet, "/api/me", nil, http.StatusOK, &me)
		delete(me, "id")
		want := map[string]string{"username": "ada", "displayName": "Ada Lovelace", "email": "ada@example.org", "role": "user"}
		if diff := cmp.Diff(want, me); diff != "" {
			t.Errorf("the account (-want +got):\n%s", diff)
		}
	})

	t.Run("off again they leave their keys alone", func(t *testing.T) {
		r.mustUpgrade(t, core...)
		// The databases were saved before those of the modules were migrated.
		kept := []string{"secrets/nap-browser-secret", "secrets/nap-coturn", "secrets/nap-sandbox-secret", "secrets/directory-reader",
			"secrets/own-authority", "persistentvolumeclaims/nap-backups"}
		after := r.objectNames(t)
		for _, name := range kept {
			if !after[name] {
				t.Errorf("%s is gone", name)
			}
			delete(after, name)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("objects before the modules and after them:\n%s", diff)
		}
		env.user(t, user.base, nil).logIn(t, "ada", "adas-own-password", http.StatusUnauthorized)
	})
}

// objectNames are the objects of the release's namespace that somebody made, those that follow from others not.
func (r *release) objectNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for group, resources := range map[schema.GroupVersion][]string{
		{Version: "v1"}:                                     {"services", "serviceaccounts", "configmaps", "secrets", "persistentvolumeclaims"},
		{Group: "apps", Version: "v1"}:                      {"deployments", "statefulsets", "daemonsets"},
		{Group: "batch", Version: "v1"}:                     {"jobs", "cronjobs"},
		{Group: "networking.k8s.io", Version: "v1"}:         {"networkpolicies", "ingresses"},
		{Group: "policy", Version: "v1"}:                    {"poddisruptionbudgets"},
		{Group: "rbac.authorization.k8s.io", Version: "v1"}: {"roles", "rolebindings"},
	} {
		for _, resource := range resources {
			list, err := r.dynamic.Resource(group.WithResource(resource)).Namespace(r.namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range list.Items {
				if !strings.HasPrefix(object.GetName(), "sh.helm.release.") {
					names[resource+"/"+object.GetName()] = true
				}
			}
		}
	}
	return names
}

func (r *release) secretValue(t *testing.T, name, key string) string {
	t.Helper()
	secret, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value := string(secret.Data[key])
	if value == "" {
		t.Fatalf("Secret %s has no %s, only %v", name, key, slices.Sorted(maps.Keys(secret.Data)))
	}
	return value
}

// wantHidden asserts that a secret stands in no field and no line of the log of a pod.
func (r *release) wantHidden(t *testing.T, selector, secret string) {
	t.Helper()
	pods, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("pods with %s: %d, %v", selector, len(pods.Items), err)
	}
	for _, pod := range pods.Items {
		if strings.Contains(pod.String(), secret) {
			t.Errorf("pod %s shows the secret", pod.Name)
		}
		if strings.Contains(r.logs(t.Context(), pod.Namespace, pod.Name, pod.Spec.Containers[0].Name), secret) {
			t.Errorf("the log of pod %s shows the secret", pod.Name)
		}
	}
}

func (r *release) podIP(t *testing.T, namespace, selector string) string {
	t.Helper()
	var address string
	eventually(t, time.Minute, "a pod with "+selector+" has an address", func(ctx context.Context) (bool, string) {
		pods, err := r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false, err.Error()
		}
		for _, pod := range pods.Items {
			// One that is on its way out keeps its address until it has ended.
			if pod.DeletionTimestamp == nil && pod.Status.PodIP != "" {
				address = pod.Status.PodIP
				return true, ""
			}
		}
		return false, fmt.Sprintf("none of %d has one", len(pods.Items))
	})
	return address
}

// wantEcho sends a packet to another allocation of the relay and awaits it back.
func wantEcho(t *testing.T, here *relay.Allocation, peer string) {
	t.Helper()
	if err := here.Permit(peer); err != nil {
		t.Fatal(err)
	}
	to, err := resolve(peer)
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1500)
	eventually(t, 20*time.Second, "an echo by the relay", func(context.Context) (bool, string) {
		if _, err := here.WriteTo([]byte("picture, please"), to); err != nil {
			return false, err.Error()
		}
		if err := here.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return false, err.Error()
		}
		n, _, err := here.ReadFrom(packet)
		return err == nil && string(packet[:n]) == "picture, please", fmt.Sprintf("got %q, %v", packet[:n], err)
	})
}
