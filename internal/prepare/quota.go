package prepare

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// exceeded is how the API server words that a quota has no room: what was requested, what is used, and what may be.
var exceeded = regexp.MustCompile(`exceeded quota: \S+, requested: (\S+), used: (\S+), limited: (\S+)`)

// fits says whether a quota that refuses one more pod now has room for it once the hook's own pod is gone. m is a match
// of exceeded.
func fits(m []string, hook corev1.ResourceRequirements) bool {
	requested, used, limited := quantities(m[1]), quantities(m[2]), quantities(m[3])
	free := map[string]resource.Quantity{"pods": resource.MustParse("1"), "count/pods": resource.MustParse("1")}
	for name, quantity := range hook.Requests {
		free[string(name)], free["requests."+string(name)] = quantity, quantity
	}
	for name, quantity := range hook.Limits {
		free["limits."+string(name)] = quantity
	}
	for name, sum := range requested {
		sum.Add(used[name])
		sum.Sub(free[name])
		if sum.Cmp(limited[name]) > 0 {
			return false
		}
	}
	return true
}

// quantities reads a list such as "pods=1,requests.cpu=2".
func quantities(list string) map[string]resource.Quantity {
	read := map[string]resource.Quantity{}
	for _, one := range strings.Split(list, ",") {
		name, value, _ := strings.Cut(one, "=")
		if quantity, err := resource.ParseQuantity(value); err == nil {
			read[name] = quantity
		}
	}
	return read
}
