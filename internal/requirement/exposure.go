package requirement

import (
	"net/url"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// exposure is how users reach the platform.
func (d *derivation) exposure() {
	e := &d.set.Exposure
	e.Type, e.Host = d.values.text("global", "exposure", "type"), d.values.text("global", "host")
	e.OpenPaths = d.set.Prepare.FreePortOf != ""
	cp := d.env("cp")
	e.URLs = map[string]string{}
	for name, variable := range map[string]string{"web": "WEB_PUBLIC_URL", "files": "FILES_PUBLIC_URL", "sandbox": "SANDBOX_PUBLIC_URL", "browser": "BROWSER_PUBLIC_URL"} {
		if cp[variable] != "" {
			e.URLs[name] = cp[variable]
		}
	}
	if u, err := url.Parse(e.URLs["web"]); err == nil {
		e.TLS = u.Scheme == "https"
	}
	for _, ingress := range each[networkingv1.Ingress](d, "Ingress") {
		d.ingress(ingress.typed)
	}
	d.gateways()
}

func (d *derivation) ingress(ingress *networkingv1.Ingress) {
	i := &d.set.Exposure.Ingress
	if class := ingress.Spec.IngressClassName; class != nil {
		i.Class = *class
	}
	for name := range ingress.Annotations {
		i.Issued = i.Issued || name == "cert-manager.io/cluster-issuer" || name == "cert-manager.io/issuer"
	}
	secrets := map[string]string{}
	for _, tls := range ingress.Spec.TLS {
		for _, host := range tls.Hosts {
			secrets[host] = tls.SecretName
		}
	}
	for _, rule := range ingress.Spec.Rules {
		host := IngressHost{Host: rule.Host, TLSSecret: secrets[rule.Host], Value: "global.exposure.tls.secretName"}
		if strings.HasPrefix(rule.Host, "*.") {
			host.Value = "global.exposure.tls.wildcardSecretName"
		}
		i.Hosts = append(i.Hosts, host)
	}
}

func (d *derivation) gateways() {
	for _, object := range d.set.Objects {
		if object.GetKind() != "HTTPRoute" {
			continue
		}
		hosts, _, _ := unstructured.NestedStringSlice(object.Object, "spec", "hostnames")
		parents, _, _ := unstructured.NestedSlice(object.Object, "spec", "parentRefs")
		for _, parent := range parents {
			ref, ok := parent.(map[string]any)
			if !ok {
				continue
			}
			g := Gateway{Namespace: values(ref).text("namespace"), Name: values(ref).text("name"), Section: values(ref).text("sectionName"), Hosts: hosts}
			if g.Namespace == "" {
				g.Namespace = object.GetNamespace()
			}
			d.addGateway(g)
		}
	}
}

func (d *derivation) addGateway(g Gateway) {
	for i, known := range d.set.Exposure.Gateways {
		if known.Namespace == g.Namespace && known.Name == g.Name && known.Section == g.Section {
			d.set.Exposure.Gateways[i].Hosts = append(known.Hosts, g.Hosts...)
			return
		}
	}
	d.set.Exposure.Gateways = append(d.set.Exposure.Gateways, g)
}

// peers are the services elsewhere that the platform uses.
func (d *derivation) peers() {
	cp := d.env("cp")
	if cp["LDAP_URL"] == "" {
		return
	}
	ldap := d.values.table("global", "ldap")
	d.set.Directory = &Directory{
		URL: cp["LDAP_URL"], BindDN: cp["LDAP_BIND_DN"], SearchBase: cp["LDAP_SEARCH_BASE"], SearchFilter: cp["LDAP_SEARCH_FILTER"],
		Username: cp["LDAP_ATTR_USERNAME"], Name: cp["LDAP_ATTR_NAME"], Mail: cp["LDAP_ATTR_EMAIL"],
		Secret: ldap.text("existingSecret"), SecretKey: ldap.text("existingSecretKey"),
		CASecret: d.values.text("global", "trustedCAs", "existingSecret"), CAKey: d.values.text("global", "trustedCAs", "existingSecretKey"),
	}
}
