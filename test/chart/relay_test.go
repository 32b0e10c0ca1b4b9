package chart_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
)

// relayConfig is the relay's file as the hooks are told to make it.
func relayConfig(t *testing.T, objects []chart.Object) *hook.SecretFile {
	t.Helper()
	for _, secret := range prepareSpec(t, objects).Secrets.Secrets {
		if secret.Name == "nap-coturn" {
			return secret.Data["turnserver.conf"].File
		}
	}
	t.Fatal("prepare.yaml has no nap-coturn with a turnserver.conf")
	return nil
}

// The relay and the service that hands out credentials for it must know one secret, which no object holds.
func TestRelayReadsItsSecretFromAFile(t *testing.T) {
	objects := renderAll(t).Objects
	browser := podOf(t, objects, "Deployment", "nap-browser")
	shared := variables(t, browser, browser.container(t, "browser"))["TURN_AUTH_SECRET"].ValueFrom.SecretKeyRef
	config := relayConfig(t, objects)
	if got := config.Values["TURN_AUTH_SECRET"]; got.Secret != shared.Name || got.Key != shared.Key {
		t.Errorf("the relay's secret is %v, that of the browser service %s.%s", got, shared.Name, shared.Key)
	}
	if !strings.Contains(config.Text, "\nstatic-auth-secret=$(TURN_AUTH_SECRET)\n") {
		t.Errorf("turnserver.conf takes its secret from nowhere:\n%s", config.Text)
	}
	p := podOf(t, objects, "Deployment", "coturn")
	c := p.container(t, "coturn")
	if c.Command[0] != "turnserver" || strings.Contains(strings.Join(c.Args, " "), "secret") {
		t.Errorf("%s: is started by %v %v, want turnserver alone with no secret", p.from, c.Command, c.Args)
	}
	file := c.Args[slices.Index(c.Args, "-c")+1]
	for _, mount := range c.VolumeMounts {
		for _, volume := range p.spec().Volumes {
			if volume.Name == mount.Name && volume.Secret != nil && volume.Secret.SecretName == "nap-coturn" && file == mount.MountPath+"/turnserver.conf" {
				return
			}
		}
	}
	t.Errorf("%s: reads %s, where nap-coturn is not mounted", p.from, file)
}

func TestRelayRelaysIntoNoPrivateNetwork(t *testing.T) {
	text := relayConfig(t, renderAll(t, "browser.coturn.allowedPeers[0]=10.244.0.0-10.244.255.255").Objects).Text
	for _, want := range []string{
		"denied-peer-ip=10.0.0.0-10.255.255.255", "denied-peer-ip=172.16.0.0-172.31.255.255", "denied-peer-ip=192.168.0.0-192.168.255.255",
		"denied-peer-ip=169.254.0.0-169.254.255.255", "denied-peer-ip=127.0.0.0-127.255.255.255", "no-multicast-peers", "no-tcp-relay",
		"allowed-peer-ip=10.244.0.0-10.244.255.255", "use-auth-secret", "listening-port=3478", "realm=localhost",
	} {
		if !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("turnserver.conf lacks %s:\n%s", want, text)
		}
	}
	// coturn maps it to the pod's address. Where it is also the node's, an exception would open the node.
	if strings.Contains(text, "allowed-peer-ip=203.0.113.10") {
		t.Errorf("turnserver.conf admits turn.host with all its ports:\n%s", text)
	}
}

func TestRelayKnowsItsOutsideAddress(t *testing.T) {
	for _, mode := range []string{"hostNetwork", "hostPort", "loadBalancer"} {
		objects := renderAll(t, "browser.coturn.network="+mode).Objects
		p := podOf(t, objects, "Deployment", "coturn")
		c := p.container(t, "coturn")
		if ref := variables(t, p, c)["POD_IP"].ValueFrom; ref == nil || ref.FieldRef == nil || ref.FieldRef.FieldPath != "status.podIP" {
			t.Errorf("%s: POD_IP is not the pod's address", p.from)
		}
		for _, want := range []string{"--listening-ip=$(POD_IP)", "--relay-ip=$(POD_IP)", "--external-ip=203.0.113.10/$(POD_IP)"} {
			if !slices.Contains(c.Args, want) {
				t.Errorf("%s: args %v lack %s", p.from, c.Args, want)
			}
		}
		notes := renderAll(t, "browser.coturn.network="+mode).Notes
		if warned := strings.Contains(notes, "send UDP packets to any port of that node"); warned != (mode == "hostNetwork") {
			t.Errorf("network %s: NOTES warn of the node's open ports: %t:\n%s", mode, warned, notes)
		}
		balanced := mode == "loadBalancer"
		// On the node's network coturn admits the node's address whatever is denied.
		onNode := mode == "hostNetwork"
		if denied := slices.Contains(c.Args, "--denied-peer-ip=$(HOST_IP)"); denied == onNode {
			t.Errorf("network %s: args %v; the node's own address is denied: %t", mode, c.Args, denied)
		}
		if ref := variables(t, p, c)["HOST_IP"].ValueFrom; ref == nil || ref.FieldRef.FieldPath != "status.hostIP" {
			t.Errorf("%s: HOST_IP is not the node's address", p.from)
		}
		if port := c.Ports[0]; (port.HostPort == platform.TurnPort) != (mode == "hostPort") {
			t.Errorf("network %s: port %+v", mode, port)
		}
		if p.spec().HostNetwork != onNode {
			t.Errorf("network %s: hostNetwork = %t", mode, p.spec().HostNetwork)
		}
		// Its headless Service stays as it is: an address can't be given to it later.
		if headless := find[*corev1.Service](t, objects, namespace, "coturn"); headless.Spec.ClusterIP != corev1.ClusterIPNone {
			t.Errorf("network %s: Service coturn has clusterIP %q, want None", mode, headless.Spec.ClusterIP)
		}
		external := slices.ContainsFunc(objects, func(o chart.Object) bool { return o.GetName() == "coturn-external" })
		if external != balanced {
			t.Errorf("network %s: Service coturn-external is rendered: %t", mode, external)
		}
		if balanced {
			service := find[*corev1.Service](t, objects, namespace, "coturn-external")
			if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.Ports[0].Port != platform.TurnPort {
				t.Errorf("Service coturn-external: %+v, want a load balancer on %d", service.Spec, platform.TurnPort)
			}
		}
	}
}

func TestRelayElsewhere(t *testing.T) {
	objects := renderAll(t, "browser.coturn.enabled=false", "browser.turn.host=turn.example.org", "global.secrets.browser.existingSecret=mine").Objects
	for _, object := range objects {
		if strings.Contains(object.GetName(), "coturn") {
			t.Errorf("browser.coturn.enabled=false: %s is rendered", object)
		}
	}
	p := podOf(t, objects, "Deployment", "nap-browser")
	set := variables(t, p, p.container(t, "browser"))
	if set["TURN_HOST"].Value != "turn.example.org" || set["TURN_AUTH_SECRET"].ValueFrom.SecretKeyRef.Name != "mine" {
		t.Errorf("%s: TURN_HOST = %q with the secret of %v", p.from, set["TURN_HOST"].Value, set["TURN_AUTH_SECRET"].ValueFrom.SecretKeyRef)
	}
}

// A new configuration is read by a new process only.
func TestRelayRestartsWithItsConfiguration(t *testing.T) {
	sum := func(set ...string) string {
		return podOf(t, renderAll(t, set...).Objects, "Deployment", "coturn").template.Annotations["checksum/config"]
	}
	if sum() == "" || sum() == sum("browser.coturn.relayPorts.max=49300") {
		t.Errorf("checksum/config is %q whatever the ports are", sum())
	}
	if sum() != sum("global.exposure.nodePorts.web=31000") {
		t.Errorf("checksum/config changes with a port that is not the relay's")
	}
}
