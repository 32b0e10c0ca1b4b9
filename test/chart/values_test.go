package chart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestBadValuesAreNamed(t *testing.T) {
	tests := map[string]struct {
		set, json string
		want      []string // parts of the message
	}{
		"TLS required and not used": {
			set:  "global.database.cnpg.sslmode=disable,global.database.cnpg.requireTLS=always",
			want: []string{"requireTLS", "sslmode"},
		},
		"unknown key":                   {set: "global.hots=nap.example.org", want: []string{"global", "hots"}},
		"unknown key at the top":        {set: "controlplane.cp.listNodes=true", want: []string{"controlplane"}},
		"unknown key of a subchart":     {set: "controlPlane.cp.replicas=2", want: []string{"cp", "replicas"}},
		"unknown key of gateway":        {set: "gateway.image=x", want: []string{"gateway", "image"}},
		"unknown key of runtime":        {set: "workspaceRuntime.runner.foo=x", want: []string{"runner", "foo"}},
		"unknown image":                 {set: "global.images.browser.tag=v1", want: []string{"global", "images", "browser"}},
		"unknown key of an image":       {set: "global.images.gateway.sha=x", want: []string{"gateway", "sha"}},
		"digest of the agents":          {set: "global.images.agent.digest=sha256:00", want: []string{"agent", "digest"}},
		"prefix with capitals":          {set: "global.namePrefix=NAP", want: []string{"namePrefix", "lower-case"}},
		"prefix ends in a dash":         {set: "global.namePrefix=nap-", want: []string{"namePrefix"}},
		"prefix is no YAML":             {set: `global.namePrefix="`, want: []string{"The release can't be installed", "namePrefix"}},
		"prefix is empty":               {set: "global.namePrefix=", want: []string{"namePrefix"}},
		"prefix too long":               {set: "global.namePrefix=abcdefghijklmnopqrstu", want: []string{"namePrefix"}},
		"host with scheme":              {set: "global.host=http://nap.example.org", want: []string{"global.host", "scheme"}},
		"host with port":                {set: "global.host=nap.example.org:8080", want: []string{"global.host", "port"}},
		"host of the exported files":    {set: "global.host=files.example.org", want: []string{"global.host", "files."}},
		"nodePort too low":              {set: "global.exposure.nodePorts.web=0", want: []string{"exposure", "nodePorts", "web"}},
		"nodePort too high":             {set: "global.exposure.nodePorts.web=65536", want: []string{"exposure", "nodePorts", "web"}},
		"nodePort is a word":            {json: `global.exposure.nodePorts.web="web"`, want: []string{"exposure", "nodePorts", "web", "integer"}},
		"ingress class with capitals":   {set: "global.exposure.ingress.className=Nginx", want: []string{"ingress", "className"}},
		"certificate with a blank":      {set: "global.exposure.tls.secretName=my tls", want: []string{"tls", "secretName"}},
		"gateway set to null":           {set: "global.exposure.gateway=null", want: []string{"exposure", "gateway"}},
		"unknown exposure":              {set: "global.exposure.type=loadBalancer", want: []string{"exposure", "type", "nodePort", "gateway"}},
		"ingress without a host":        {set: "global.exposure.type=ingress", want: []string{"exposure.type ingress", "set global.host"}},
		"ingress to an address":         {set: "global.exposure.type=ingress,global.host=10.0.0.10", want: []string{"https://10.0.0.10", "nodePort"}},
		"gateway without a Gateway":     {set: "global.exposure.type=gateway,global.host=nap.example.org", want: []string{"gateway.parentRefs"}},
		"gateway of a wrong shape":      {json: `global.exposure.gateway.parentRefs=["edge"]`, want: []string{"gateway", "parentRefs"}},
		"unknown controller":            {set: "global.exposure.ingress.controller=haproxy", want: []string{"ingress", "controller", "contour"}},
		"certificate without https":     {set: "global.exposure.tls.secretName=cert", want: []string{"tls.secretName", "listener"}},
		"annotation is a number":        {json: `global.exposure.ingress.annotations={"a":1}`, want: []string{"ingress", "annotations"}},
		"web URL without scheme":        {set: "global.publicUrls.web=nap.example.org", want: []string{"publicUrls.web", "https://"}},
		"web URL with a slash":          {set: "global.publicUrls.web=https://nap.example.org/", want: []string{"publicUrls.web", "slash"}},
		"files URL with another host":   {set: "global.publicUrls.files=https://exports.example.org", want: []string{"publicUrls.files", "files."}},
		"instances is zero":             {set: "global.database.cnpg.instances=0", want: []string{"cnpg", "instances"}},
		"size without unit":             {set: "global.database.cnpg.storage.size=10", want: []string{"cnpg", "storage", "size"}},
		"size with a wrong unit":        {set: "global.storage.shared.size=500GB", want: []string{"shared", "size"}},
		"size of a workspace":           {set: "global.workspaces.storageSize=lots", want: []string{"workspaces", "storageSize"}},
		"too few connections":           {set: fmt.Sprint("global.database.cnpg.maxConnections=", connections()-1), want: []string{"maxConnections", strconv.Itoa(connections())}},
		"unknown database mode":         {set: "global.database.mode=sqlite", want: []string{"database", "mode", "cnpg"}},
		"external without a role":       {set: "global.database.mode=external,cloudnative-pg.enabled=false,global.database.external.host=db", want: []string{"external.existingSecret", "urlKey"}},
		"external without a host":       {set: "global.database.mode=external,cloudnative-pg.enabled=false,global.database.external.existingSecret=role", want: []string{"external.host", "urlKey"}},
		"external host with a scheme":   {set: "global.database.mode=external,global.database.external.host=postgres://db:5432", want: []string{"external.host", "postgres://db:5432", "scheme"}},
		"external twice":                {set: "global.database.mode=external,global.database.external.host=db,global.database.external.urlKey=uri", want: []string{"host", "urlKey", "set one of them"}},
		"external beside the operator":  {set: "global.database.mode=external", want: []string{"cloudnative-pg.enabled=false"}},
		"authority that nobody asks":    {set: "global.database.mode=external,global.database.external.host=db,global.database.external.sslmode=require,global.database.external.caSecret=ca", want: []string{"caSecret", "sslmode require", "verify-full"}},
		"no authority to verify by":     {set: "global.database.mode=external,global.database.external.sslmode=verify-ca", want: []string{"verify-ca", "caSecret"}},
		"external TLS mode":             {set: "global.database.external.sslmode=prefer", want: []string{"external", "sslmode", "verify-full"}},
		"shared volume from two places": {set: "global.storage.shared.existingClaim=mine,global.storage.shared.nodeLocal.enabled=true", want: []string{"existingClaim and nodeLocal.enabled", "leave one"}},
		"export without a path":         {set: "global.storage.shared.nfs.server=nfs", want: []string{"nfs.path", "/exports/nap"}},
		"export without a server":       {set: "global.storage.shared.nfs.path=/exports", want: []string{"nfs.path", "nfs.server"}},
		"the root of a node":            {set: "global.storage.shared.nodeLocal.path=/var", want: []string{"nodeLocal.path", "/var/lib/neutree/shared"}},
		"a node that nobody asks":       {set: "global.storage.shared.nodeLocal.node=a", want: []string{"nodeLocal.node", "nodeLocal.enabled"}},
		"access mode of several":        {set: "global.storage.shared.accessMode=ReadOnlyMany", want: []string{"shared", "accessMode", "ReadWriteMany"}},
		"switch is a word":              {json: `global.workspaces.multiReplica="yes"`, want: []string{"workspaces", "multiReplica", "boolean"}},
		"pull policy":                   {set: "global.imagePullPolicy=always", want: []string{"imagePullPolicy", "Always"}},
		"pull secret without a name":    {json: `global.imagePullSecrets=[{"secret":"regcred"}]`, want: []string{"imagePullSecrets"}},
		"deletes another release's data": {set: "uninstall.deleteData=other@1",
			want: []string{`uninstall.deleteData is "other@1"`, "set uninstall.deleteData=neutree@1"}},
		"deletes data at any revision": {set: "uninstall.deleteData=neutree",
			want: []string{`uninstall.deleteData is "neutree"`, "set uninstall.deleteData=neutree@1"}},
		"workspaces' namespace": {set: "global.workspaces.namespace=Work", want: []string{"workspaces", "namespace"}},
		"unknown mode of egress": {set: "global.networkPolicies.workspaceEgress.mode=on",
			want: []string{"workspaceEgress", "mode", "closed"}},
		"egress to no range": {json: `global.networkPolicies.workspaceEgress.allow=[{"cidr":"10.0.0.1"}]`,
			want: []string{"workspaceEgress", "allow", "cidr"}},
		"egress to a range that is too small": {json: `global.networkPolicies.workspaceEgress.deny=["10.0.0.0/33"]`,
			want: []string{"workspaceEgress", "deny"}},
		"egress to a range and a namespace": {json: `global.networkPolicies.workspaceEgress.allow=` +
			`[{"cidr":"10.0.0.1/32","namespace":"models"}]`, want: []string{"workspaceEgress", "allow"}},
		"egress to a port by its name": {json: `global.networkPolicies.workspaceEgress.allow=` +
			`[{"namespace":"models","ports":[{"port":"http"}]}]`, want: []string{"workspaceEgress", "allow", "port"}},
		"peer of users":                   {json: `global.networkPolicies.usersFrom=[{"cidr":"10.0.0.0/8"}]`, want: []string{"networkPolicies", "usersFrom", "cidr"}},
		"addresses of users":              {json: `global.networkPolicies.usersFrom=[{"ipBlock":{"cidr":"10.0.0.1"}}]`, want: []string{"usersFrom", "cidr"}},
		"directory without anything":      {set: "global.modules.ldap.enabled=true", want: []string{"ldap.url", "ldap.bindDN", "ldap.existingSecret", "ldap.searchBase", "ldap.attributes.username"}},
		"directory by http":               {set: "global.modules.ldap.enabled=true,global.ldap.url=https://directory", want: []string{"ldap.url", "ldaps://"}},
		"directory with an empty port":    {set: "global.modules.ldap.enabled=true,global.ldap.url=ldaps://directory:", want: []string{"ldap.url", "ldaps://"}},
		"directory's Secret with a blank": {set: "global.ldap.existingSecret=my bind", want: []string{"ldap", "existingSecret"}},
		"key with a slash":                {set: "global.trustedCAs.existingSecretKey=ca/crt", want: []string{"trustedCAs", "existingSecretKey"}},
		"modules set to null":             {set: "global.modules=null", want: []string{"global", "modules"}},
		"filter without parentheses":      {set: "global.modules.ldap.enabled=true,global.ldap.searchFilter=objectClass=person", want: []string{"ldap.searchFilter", "parentheses"}},
		"filter that is not closed":       {set: "global.modules.ldap.enabled=true,global.ldap.searchFilter=(&(objectClass=person)", want: []string{"ldap.searchFilter", "close"}},
		"value of the directory's chart":  {set: "ldap.url=ldap://directory", want: []string{"ldap", "url"}},
		"one Secret for two things":       {set: "global.trustedCAs.existingSecret=mine,global.admin.existingSecret=mine", want: []string{"global.trustedCAs", "another"}},
		"sandbox without OpenSandbox":     {set: "global.modules.sandbox.enabled=true", want: []string{"modules.sandbox.enabled", "sandbox.openSandbox.url"}},
		"unknown key of sandbox":          {set: "global.modules.sandbox.enabled=true,sandbox.openSandbox.key=x", want: []string{"openSandbox", "key"}},
		"OpenSandbox with an empty port":  {set: "global.modules.sandbox.enabled=true,sandbox.openSandbox.url=http://opensandbox:", want: []string{"sandbox.openSandbox.url"}},
		"warmed image with a scheme":      {json: `sandbox.imageWarmer.images=[{"registry":"https://docker.io","repository":"library/node"}]`, set: "global.modules.sandbox.enabled=true", want: []string{"imageWarmer", "registry"}},
		"service of a module set to null": {set: "global.modules.sandbox.enabled=true,sandbox.service=null", want: []string{"sandbox", "service"}},
		"module's Secret with a blank":    {set: "global.secrets.sandbox.existingSecret=my keys", want: []string{"secrets", "sandbox", "existingSecret"}},
		"ports that collide":              {set: "global.modules.sandbox.enabled=true,global.exposure.nodePorts.sandbox=30080", want: []string{"nodePorts.web", ".sandbox", "30080"}},
		"browser without sandbox":         {set: "global.modules.browser.enabled=true,browser.turn.host=203.0.113.10", want: []string{"modules.browser.enabled", "global.modules.sandbox.enabled"}},
		"relay by a name":                 {set: "global.modules.browser.enabled=true,browser.turn.host=turn.example.org", want: []string{"browser.turn.host", "turn.example.org", "IPv4"}},
		"relay set to null":               {set: "global.modules.sandbox.enabled=true,global.modules.browser.enabled=true,sandbox.openSandbox.url=http://opensandbox,browser.coturn=null", want: []string{"coturn"}},
		"relay at no address":             {set: "global.modules.browser.enabled=true,browser.turn.host=10.0.0.256", want: []string{"browser.turn.host", "10.0.0.256"}},
		"relay elsewhere":                 {set: "global.modules.browser.enabled=true,browser.coturn.enabled=false,browser.turn.host=turn.example.org:3478", want: []string{"browser.turn.host", "no port", "global.secrets.browser.existingSecret"}},
		"relay ports upside down":         {set: "global.modules.browser.enabled=true,browser.coturn.relayPorts.min=50000", want: []string{"relayPorts.min 50000", "49252"}},
		"peers as a prefix":               {set: "global.modules.browser.enabled=true,browser.coturn.deniedPeers[0]=10.0.0.0/8", want: []string{"coturn", "deniedPeers"}},
		"network of the relay":            {set: "global.modules.browser.enabled=true,browser.coturn.network=nodePort", want: []string{"coturn", "network", "loadBalancer"}},
		"priority with capitals":          {set: "gateway.priorityClassName=High", want: []string{"gateway", "priorityClassName"}},
		"volumes are no list":             {json: `gateway.extraVolumes={"name":"x"}`, want: []string{"gateway", "extraVolumes", "array"}},
		"label of the chart's own":        {json: `global.commonLabels={"app":"x"}`, want: []string{"commonLabels", `"app"`}},
		"recommended label":               {json: `global.commonLabels={"app.kubernetes.io/name":"x"}`, want: []string{"commonLabels", "app.kubernetes.io/name"}},
		"proxy with a password":           {set: "controlPlane.cp.proxy.https=http://me:hunter2@proxy:3128", want: []string{"cp", "proxy", "https"}},
		"proxy with an empty port":        {set: "controlPlane.cp.proxy.http=http://proxy:", want: []string{"cp", "proxy", "http"}},
		"proxy's exceptions set to null":  {set: "controlPlane.cp.proxy.noProxy=null", want: []string{"proxy", "noProxy"}},
		"extra object without a kind":     {json: `extraObjects=[{"metadata":{"name":"x"}}]`, want: []string{"extraObjects"}},
		"digest without algorithm":        {set: "global.images.gateway.digest=abc", want: []string{"gateway", "digest"}},
		"neither tag nor digest":          {set: "global.images.gateway.tag=", want: []string{"gateway", "tag"}},
		"workspaces share a namespace":    {set: "global.workspaces.namespace=kube_system", want: []string{"workspaces.namespace"}},
		"timeout is negative":             {set: "global.hooks.timeouts.guard=-1", want: []string{"timeouts", "guard"}},
		"the operator's switch":           {json: `cloudnative-pg.enabled="no"`, want: []string{"cloudnative-pg", "enabled"}},
		"node selector with a number":     {json: `global.workspaces.nodeSelector={"pool":3}`, want: []string{"nodeSelector", "pool"}},
		"user of the database is empty":   {set: "global.database.user=", want: []string{"database", "user"}},
		"web URL with an empty port":      {set: "global.publicUrls.web=http://nap.example.org:", want: []string{"publicUrls.web", "port"}},
		"shared volume for one pod":       {set: "global.storage.shared.accessMode=ReadWriteOncePod", want: []string{"shared", "accessMode", "ReadWriteMany"}},
		"registry with scheme":            {set: "global.imageRegistry=https://registry.example.org", want: []string{"imageRegistry"}},
		"registry with a slash":           {set: "global.imageRegistry=registry.example.org/", want: []string{"imageRegistry"}},
		"repository with capitals":        {set: "global.images.afs.repository=Neutree/afs", want: []string{"afs", "repository"}},
		"Secret with a blank":             {set: "global.admin.existingSecret=my admin", want: []string{"admin", "existingSecret"}},
		"class with capitals":             {set: "global.storage.shared.storageClass=NFS", want: []string{"shared", "storageClass"}},
		"pull secret with capitals":       {set: "global.imagePullSecrets[0]=Regcred", want: []string{"imagePullSecrets"}},
		"variable that is a number":       {json: `controlPlane.cp.extraEnv=[{"name":"A","value":5}]`, want: []string{"extraEnv", "string"}},
		"group set to null":               {set: "global.publicUrls=null", want: []string{"global", "publicUrls"}},
		"value set to null":               {set: "global.exposure.type=null", want: []string{"exposure", "type"}},
		"workload set to null":            {set: "controlPlane.skills=null", want: []string{"skills"}},
		"connections as a parameter":      {json: `global.database.cnpg.parameters={"max_connections":"10"}`, want: []string{"parameters", "global.database.cnpg.maxConnections"}},
		"the operator's name":             {set: "cloudnative-pg.nameOverride=pg", want: []string{"cloudnative-pg.nameOverride", "fullnameOverride"}},
		"administrator is empty":          {set: "global.admin.username=", want: []string{"admin", "username"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := target{}
			if test.set != "" {
				to.set = []string{test.set}
			}
			if test.json != "" {
				to.json = []string{test.json}
			}
			_, err := tryRender(to)
			if err == nil {
				t.Fatalf("%s%s is accepted", test.set, test.json)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s%s: the message does not speak of %q:\n%v", test.set, test.json, want, err)
				}
			}
		})
	}
}

func TestContradictionsAreToldAtOnce(t *testing.T) {
	_, err := tryRender(target{set: []string{
		"global.host=files.example.org",
		"global.publicUrls.files=https://exports.example.org",
		"global.database.cnpg.maxConnections=100",
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"global.host", "global.publicUrls.files", "global.database.cnpg.maxConnections"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not name %s:\n%v", want, err)
		}
	}
}

func TestGoodValuesAreAccepted(t *testing.T) {
	for _, set := range []string{
		"global.host=10.0.0.10", "global.host=nap.example.org", "global.namePrefix=acme-2", "global.exposure.type=clusterIP",
		"global.imagePullSecrets[0]=regcred", "global.imagePullSecrets[0].name=regcred", "global.imageRegistry=registry.example.org:5000/mirror",
		"global.publicUrls.web=http://nap.example.org:8080", "global.storage.shared.accessMode=ReadWriteOnce",
		"global.database.cnpg.storage.size=500Mi", "cloudnative-pg.image.repository=registry.example.org/cloudnative-pg",
		"global.publicUrls.web=https://[2001:db8::1]:8443", "global.images.afs.registry=registry.example.org:5000/mirror",
		"global.exposure.type=ingress,global.host=nap.example.org", "global.exposure.type=ingress,global.publicUrls.web=https://nap.example.org:8443",
		"global.exposure.type=gateway,global.host=nap.example.org,global.exposure.gateway.parentRefs[0].name=edge",
		"global.exposure.nodePorts.web=30086", "global.hooks.nodeSelector.pool=system", "gateway.resources.limits.cpu=2", "global.workspaces.createNamespace=false",
	} {
		t.Run(set, func(t *testing.T) {
			if _, err := tryRender(target{set: []string{set}}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A misspelt key must never be taken in silence, at any depth.
func TestSchemasAreStrict(t *testing.T) {
	paths := files(t, "values.schema.json")
	want := len(files(t, "values.yaml"))
	if len(paths) != want {
		t.Errorf("%d values.schema.json beside %d values.yaml: %v", len(paths), want, paths)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var schema map[string]any
		if err := json.Unmarshal(raw, &schema); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		relative, _ := filepath.Rel(umbrella, path)
		walkSchema(t, relative, "", schema)
		properties, _ := schema["properties"].(map[string]any)
		if _, ok := properties["global"]; !ok {
			t.Errorf("%s: does not admit global, which Helm hands to every subchart", relative)
		}
	}
}

// open are the objects whose keys belong to somebody else.
var open = map[string]string{
	".cloudnative-pg":              "the operator's chart has its own values",
	".cloudnative-pg.crds":         "the operator's chart has its own values",
	".cloudnative-pg.config":       "the operator's chart has its own values",
	".controlPlane":                "its own schema is strict",
	".gateway":                     "its own schema is strict",
	".workspaceRuntime":            "its own schema is strict",
	".sandbox":                     "its own schema is strict",
	".browser":                     "its own schema is strict",
	".global":                      "a chart above shares its own values there; the templates name what no one knows",
	".extraObjects.items.oneOf[1]": "an object of any kind",
	".common":                      "a library has no values, but Helm hands it global",

	".global.database.cnpg.extraSpec": "the operator judges the fields of its own kind",
}

func walkSchema(t *testing.T, file, at string, schema map[string]any) {
	t.Helper()
	// Every chart is handed global, whose keys the umbrella checks.
	global := at == ".global" && strings.HasPrefix(file, "charts")
	if schema["type"] == "object" && !isStrict(schema) && open[at] == "" && !ofKubernetes(at) && !global {
		t.Errorf("%s: %s admits any key: additionalProperties is %v", file, at, schema["additionalProperties"])
	}
	for _, group := range []string{"properties", "definitions", "$defs", "patternProperties"} {
		members, _ := schema[group].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if member, ok := members[name].(map[string]any); ok {
				walkSchema(t, file, at+"."+name, member)
			}
		}
	}
	for _, single := range []string{"items", "additionalProperties"} {
		if member, ok := schema[single].(map[string]any); ok {
			walkSchema(t, file, fmt.Sprintf("%s.%s", at, single), member)
		}
	}
	for _, several := range []string{"anyOf", "oneOf", "allOf"} {
		members, _ := schema[several].([]any)
		for i, member := range members {
			if member, ok := member.(map[string]any); ok {
				walkSchema(t, file, fmt.Sprintf("%s.%s[%d]", at, several, i), member)
			}
		}
	}
}

// isStrict says whether an object's schema says something about every key.
func isStrict(schema map[string]any) bool {
	switch extra := schema["additionalProperties"].(type) {
	case bool:
		return !extra
	case map[string]any:
		return len(extra) > 0
	}
	return false
}

// ofKubernetes says whether a key holds a piece of a pod as Kubernetes defines it, which the API server checks.
func ofKubernetes(at string) bool {
	last := at[strings.LastIndex(at, ".")+1:]
	return slices.Contains([]string{"affinity", "resources"}, last) || strings.HasSuffix(at, ".extraEnv.items") || strings.HasSuffix(at, ".tolerations.items") ||
		strings.HasSuffix(at, ".topologySpreadConstraints.items") || strings.Contains(at, ".extraVolumes.items") ||
		strings.HasSuffix(at, ".extraVolumeMounts.items")
}
