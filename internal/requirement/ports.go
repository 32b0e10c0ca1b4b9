package requirement

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/platform"
)

// nodePorts are those of the rendered Services.
func (d *derivation) nodePorts() {
	for _, o := range each[corev1.Service](d, "Service") {
		if o.By != Helm || o.typed.Spec.Type != corev1.ServiceTypeNodePort && o.typed.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		for _, port := range o.typed.Spec.Ports {
			taken := NodePort{Service: o.GetName(), Namespace: o.GetNamespace(), Port: port.NodePort, Protocol: cmp.Or(port.Protocol, corev1.ProtocolTCP)}
			for _, known := range d.set.Prepare.Guard.NodePorts {
				if known.Service == taken.Service && known.Port == taken.Port {
					taken.Value, taken.Before = known.Value, known.Before
				}
			}
			d.set.NodePorts = append(d.set.NodePorts, taken)
		}
	}
}

// hostPorts are those that pods take on their nodes, and the ports that the relay relays on.
func (d *derivation) hostPorts() {
	d.relay()
	for _, pod := range d.set.Pods {
		value := ""
		if d.set.Relay != nil && pod.Owner == d.set.Relay.Owner {
			value = "browser.coturn.network"
		}
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				number := port.HostPort
				if number == 0 && pod.Spec.HostNetwork {
					number = port.ContainerPort
				}
				if number != 0 {
					d.set.HostPorts = append(d.set.HostPorts, HostPort{Owner: pod.Owner, Namespace: pod.Namespace,
						Port: number, Last: number, Protocol: cmp.Or(port.Protocol, corev1.ProtocolTCP), Value: value})
				}
			}
		}
		if relay := d.set.Relay; relay != nil && relay.HostNetwork && pod.Owner == relay.Owner {
			d.set.HostPorts = append(d.set.HostPorts, HostPort{Owner: pod.Owner, Namespace: pod.Namespace,
				Port: relay.Min, Last: relay.Max, Protocol: corev1.ProtocolUDP, Value: "browser.coturn.relayPorts"})
		}
	}
}

func (d *derivation) relay() {
	host := d.env("browser")["TURN_HOST"]
	if host == "" {
		return
	}
	relay := &Relay{Host: host, Port: platform.TurnPort}
	d.set.Relay = relay
	for _, pod := range d.set.Pods {
		if pod.Owner == "Deployment coturn" {
			relay.Own, relay.Owner, relay.HostNetwork = true, pod.Owner, pod.Spec.HostNetwork
			relay.HostPort = slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
				return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
			})
			relay.NodeSelector, relay.Tolerations = pod.Spec.NodeSelector, pod.Spec.Tolerations
		}
	}
	relay.Min = d.values.number("browser", "coturn", "relayPorts", "min")
	relay.Max = d.values.number("browser", "coturn", "relayPorts", "max")
}
