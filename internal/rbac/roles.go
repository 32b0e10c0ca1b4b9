package rbac

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Options say for whom roles are written.
type Options struct {
	// Subjects are bound to the roles; without any, no bindings are written.
	Subjects []rbacv1.Subject
}

// ParseSubject reads "user:NAME", "group:NAME" or "serviceaccount:NAMESPACE:NAME".
func ParseSubject(text string) (rbacv1.Subject, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch kind {
	case "user", "group":
		if name != "" {
			return rbacv1.Subject{Kind: map[string]string{"user": rbacv1.UserKind, "group": rbacv1.GroupKind}[kind], APIGroup: rbacv1.GroupName, Name: name}, nil
		}
	case "serviceaccount":
		namespace, account, ok := strings.Cut(name, ":")
		if ok && namespace != "" && account != "" {
			return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}, nil
		}
	}
	return rbacv1.Subject{}, fmt.Errorf("subject %q: write user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME", text)
}

// Write writes, as YAML for kubectl apply, one ClusterRole for what is asked of the whole cluster, one Role for each
// namespace, and their bindings. It never writes a Namespace: who revokes the roles by kubectl delete with the same
// output must not delete the data of the release.
func Write(w io.Writer, set *requirement.Set, needs []Need, options Options) error {
	name := installerName(set)
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The rights to install, upgrade, roll back and uninstall release %s in namespace %s, exactly "+
		"as rendered,\n"+
		"# with Helm 3 or 4. An administrator applies them once. The namespaces must exist: --namespaces prints them.\n",
		set.Release, set.Namespace)
	for _, scope := range scopes(needs) {
		own := slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Namespace != scope })
		writeRole(&out, name, scope, own)
		if len(options.Subjects) > 0 {
			if err := document(&out, binding(name, scope, options.Subjects)); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// WriteNamespaces writes, as YAML for kubectl apply, the namespaces of the release, so that the installer needs no right
// to create any.
func WriteNamespaces(w io.Writer, set *requirement.Set) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The namespaces of release %s: install without --create-namespace.\n"+
		"# They contain the release's data. To revoke the installer's rights, delete what --revoke prints instead.\n",
		set.Release)
	for _, namespace := range namespaces(set) {
		if err := document(&out, namespace.Object); err != nil {
			return err
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// WriteRevocation writes, as YAML for kubectl delete, the bindings and roles that Write writes, by name only.
func WriteRevocation(w io.Writer, set *requirement.Set, needs []Need) error {
	name := installerName(set)
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The installer's rights on release %s in namespace %s, for kubectl delete --ignore-not-found "+
		"-f -.\n"+
		"# The release keeps running without them.\n", set.Release, set.Namespace)
	for _, scope := range scopes(needs) {
		kind, metadata := scoped(name, scope)
		for _, kind := range []string{kind + "Binding", kind} {
			object := map[string]any{
				"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": kind, "metadata": metadata,
			}
			if err := document(&out, object); err != nil {
				return err
			}
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// installerName is the name of all roles and bindings that let someone install a release.
func installerName(set *requirement.Set) string {
	return set.Namespace + "-" + set.Release + "-installer"
}

// scoped is the kind of the role of a namespace, or of the cluster where that is empty, and its metadata.
func scoped(name, namespace string) (kind string, metadata map[string]any) {
	if namespace == "" {
		return "ClusterRole", map[string]any{"name": name}
	}
	return "Role", map[string]any{"name": name, "namespace": namespace}
}

// Namespaces are the names of the namespaces that WriteNamespaces writes.
func Namespaces(set *requirement.Set) []string {
	var names []string
	for _, namespace := range namespaces(set) {
		names = append(names, namespace.GetName())
	}
	return names
}

// namespaces are those of the release: the one that it would make itself is marked as its own, so that it takes
// it over.
func namespaces(set *requirement.Set) []*unstructured.Unstructured {
	own := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": set.Namespace}}}
	all := []*unstructured.Unstructured{own}
	for _, object := range set.Objects {
		if object.By == requirement.Helm && object.Hook == nil && object.GetKind() == "Namespace" {
			made := object.DeepCopy()
			chart.Own(made, set.Release, set.Namespace)
			all = append(all, made)
		}
	}
	return all
}

func scopes(needs []Need) []string {
	var all []string
	for _, need := range needs {
		if !slices.Contains(all, need.Namespace) {
			all = append(all, need.Namespace)
		}
	}
	slices.Sort(all)
	return all
}

func writeRole(out *bytes.Buffer, name, namespace string, needs []Need) {
	kind, where := "ClusterRole", ""
	if namespace != "" {
		kind, where = "Role", "\n  namespace: "+namespace
	}
	fmt.Fprintf(out, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata:\n  name: %s%s\nrules:\n", kind, name, where)
	for _, part := range []struct {
		granted bool
		comment string
	}{
		{false, "What Helm does itself."},
		{true, "What roles of the release grant: nobody may grant what they do not hold."},
	} {
		rules := Rules(slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Granted != part.granted }))
		if len(rules) == 0 {
			continue
		}
		fmt.Fprintf(out, "# %s\n", part.comment)
		for _, rule := range rules {
			writeRule(out, rule)
		}
	}
}

func writeRule(out *bytes.Buffer, rule rbacv1.PolicyRule) {
	lead := "- "
	for _, field := range []struct {
		name   string
		values []string
	}{
		{"apiGroups", rule.APIGroups}, {"resources", rule.Resources}, {"resourceNames", rule.ResourceNames},
		{"nonResourceURLs", rule.NonResourceURLs}, {"verbs", rule.Verbs},
	} {
		if len(field.values) > 0 {
			fmt.Fprintf(out, "%s%s: [%s]\n", lead, field.name, quoted(field.values))
			lead = "  "
		}
	}
}

func quoted(values []string) string {
	words := make([]string, len(values))
	for i, value := range values {
		words[i] = fmt.Sprintf("%q", value)
	}
	return strings.Join(words, ", ")
}

// Rules writes rights of one scope as rules: what has the same verbs and names stands together.
func Rules(needs []Need) []rbacv1.PolicyRule {
	type object struct{ group, resource, name, url string }
	var order []object
	verbs := map[object][]string{}
	for _, need := range needs {
		o := object{need.Group, need.Resource, need.Name, need.URL}
		if verbs[o] == nil {
			order = append(order, o)
		}
		verbs[o] = append(verbs[o], need.Verb)
	}
	var rules []rbacv1.PolicyRule
	for _, o := range order {
		rule := rbacv1.PolicyRule{Verbs: verbs[o]}
		if o.url != "" {
			rule.NonResourceURLs = []string{o.url}
		} else {
			rule.APIGroups, rule.Resources = []string{o.group}, []string{o.resource}
		}
		if o.name != "" {
			rule.ResourceNames = []string{o.name}
		}
		rules = append(rules, rule)
	}
	rules = join(rules, func(a, b *rbacv1.PolicyRule) bool {
		if !slices.Equal(a.APIGroups, b.APIGroups) || !slices.Equal(a.Resources, b.Resources) || a.ResourceNames == nil || b.ResourceNames == nil {
			return false
		}
		a.ResourceNames = append(a.ResourceNames, b.ResourceNames...)
		return true
	})
	return join(rules, func(a, b *rbacv1.PolicyRule) bool {
		if !slices.Equal(a.APIGroups, b.APIGroups) || !slices.Equal(a.ResourceNames, b.ResourceNames) || len(a.Resources) == 0 {
			return false
		}
		a.Resources = append(a.Resources, b.Resources...)
		return true
	})
}

// join merges rules of the same verbs where merge can.
func join(rules []rbacv1.PolicyRule, merge func(a, b *rbacv1.PolicyRule) bool) []rbacv1.PolicyRule {
	var joined []rbacv1.PolicyRule
next:
	for _, rule := range rules {
		for i := range joined {
			if slices.Equal(joined[i].Verbs, rule.Verbs) && merge(&joined[i], &rule) {
				continue next
			}
		}
		joined = append(joined, rule)
	}
	return joined
}

func binding(name, namespace string, subjects []rbacv1.Subject) map[string]any {
	kind, metadata := scoped(name, namespace)
	return map[string]any{
		"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": kind + "Binding", "metadata": metadata,
		"roleRef":  map[string]any{"apiGroup": rbacv1.GroupName, "kind": kind, "name": name},
		"subjects": slices.SortedFunc(slices.Values(subjects), func(a, b rbacv1.Subject) int { return cmp.Compare(a.Name, b.Name) }),
	}
}

func document(out *bytes.Buffer, object map[string]any) error {
	text, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "---\n%s", text)
	return nil
}
