package valuegen

import (
	"math/rand/v2"
)

func oneOf(choices ...any) func(*rand.Rand) any {
	return func(r *rand.Rand) any { return choices[r.IntN(len(choices))] }
}

// object and list keep the pieces of Kubernetes below short.
type (
	object = map[string]any
	list   = []any
)

var (
	volumes = list{object{"name": "scratch", "emptyDir": object{}}, object{"name": "own-config", "configMap": object{"name": "config", "optional": true}}}
	mounts  = list{object{"name": "scratch", "mountPath": "/scratch"}, object{"name": "own-config", "mountPath": "/etc/extra", "readOnly": true}}
)

// meanings are values of what a schema can't describe: pieces of a pod, which Kubernetes checks, and texts that the
// templates check. They stand under a whole path, or under the last key of one. Those under a whole path are now and
// then replaced by any text, which the templates must then refuse by name.
var meanings = map[string]func(*rand.Rand) any{
	"affinity": oneOf(object{}, object{"nodeAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": object{
		"nodeSelectorTerms": list{object{"matchExpressions": list{object{"key": "kubernetes.io/os", "operator": "In", "values": list{"linux"}}}}}}}}),
	"tolerations": oneOf(list{}, list{object{"operator": "Exists"}}, list{object{"key": "pool", "value": "agents", "effect": "NoSchedule"}}),
	"topologySpreadConstraints": oneOf(list{}, list{object{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
		"whenUnsatisfiable": "ScheduleAnyway", "labelSelector": object{"matchLabels": object{"app": "nap-cp"}}}}),
	"extraEnv": oneOf(list{}, list{object{"name": "LOG_LEVEL", "value": "debug"}},
		list{object{"name": "TOKEN", "valueFrom": object{"secretKeyRef": object{"name": "token", "key": "token"}}}, object{"name": "QUOTED", "value": `"yes": #`}}),
	// CloudNativePG judges it.
	"extraSpec":         oneOf(object{}),
	"extraVolumes":      func(*rand.Rand) any { return volumes },
	"extraVolumeMounts": func(*rand.Rand) any { return mounts },
	"extraObjects": oneOf(list{}, list{object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "extra"}},
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"extra-{{ .Release.Name }}\"}"}),
	// No higher than any limit that the chart sets, and no lower than any request.
	"requests": oneOf(object{"cpu": "10m", "memory": "16Mi"}, object{"cpu": 0.01}),
	"limits":   oneOf(object{"cpu": "8", "memory": "16Gi"}, object{"cpu": 8, "memory": "16Gi", "ephemeral-storage": "1Gi"}),
	"cidr":     oneOf("10.0.0.0/8", "2001:db8::/32"),
	"allow": oneOf(list{}, list{object{"cidr": "10.20.0.0/16", "ports": list{object{"port": 443}}}},
		list{object{"namespace": "models"}}),
	"usersFrom": oneOf(list{}, list{object{"ipBlock": object{"cidr": "10.0.0.0/8", "except": list{"10.1.0.0/16"}}}},
		list{object{"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": "edge"}}, "podSelector": object{}}}),
	"maxConnections": func(r *rand.Rand) any { return 250 + r.IntN(500) },

	"global.namePrefix":                      oneOf("nap", "acme", "a", "team-2", "abcdefghijklmnopqrst"),
	"global.host":                            oneOf("", "nap.example.org", "10.0.0.10", "localhost"),
	"global.exposure.gateway.parentRefs":     oneOf(list{object{"name": "edge"}}, list{object{"name": "edge", "namespace": "edge", "sectionName": "https", "port": 443}}),
	"global.publicUrls.web":                  oneOf("", "https://nap.example.org", "http://nap.example.org:8080", "https://[2001:db8::1]:8443"),
	"global.publicUrls.files":                oneOf("", "https://files.example.org"),
	"global.publicUrls.sandbox":              oneOf("", "https://boxes.example.org"),
	"global.publicUrls.browser":              oneOf("", "https://browsers.example.org"),
	"global.ldap.url":                        oneOf("ldaps://directory.example.org", "ldap://10.0.0.10:389"),
	"global.ldap.bindDN":                     oneOf("cn=reader,dc=example,dc=org", `cn="the, reader",dc=example`),
	"global.ldap.existingSecret":             oneOf("directory"),
	"global.ldap.searchBase":                 oneOf("ou=people,dc=example,dc=org"),
	"global.ldap.searchFilter":               oneOf("(objectClass=person)", "(&(objectClass=person)(memberOf=cn=nap,dc=example))"),
	"global.ldap.attributes.username":        oneOf("uid", "sAMAccountName"),
	"global.workspaces.namespace":            oneOf("", "nap", "agents", "0-9"),
	"browser.turn.host":                      oneOf("203.0.113.10", "192.0.2.1"),
	"sandbox.openSandbox.url":                oneOf("http://opensandbox-server.opensandbox.svc", "https://sandboxes.example.org:8443"),
	"global.database.external.host":          oneOf("", "db.example.org", "2001:db8::5"),
	"global.storage.shared.nfs.server":       oneOf("", "nfs.example.org"),
	"global.storage.shared.nfs.path":         oneOf("/exports/nap"),
	"global.storage.shared.nodeLocal.path":   oneOf("/var/lib/neutree/shared", "/data/nap"),
	"global.storage.shared.nodeLocal.node":   oneOf("", "node-1"),
	"global.database.cnpg.parameters":        oneOf(object{}, object{"shared_buffers": "1GB", "work_mem": "16MB"}),
	"global.commonLabels":                    oneOf(object{}, object{"example.org/team": "agents", "cost": "12"}),
	"global.exposure.tls.secretName":         oneOf("", "certificate"),
	"global.exposure.tls.wildcardSecretName": oneOf("", "wildcard"),
}
