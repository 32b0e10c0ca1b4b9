// Package rbac works out which rights an installation takes of whoever runs it: what Helm does with each object,
// what templates look up, and what the Roles of the release grant, since nobody may grant what they do not hold.
package rbac

import (
	"cmp"
	"fmt"
	"slices"
)

// Right is one verb on one kind of object.
type Right struct {
	Verb string
	// Group and Resource name the kind; Resource may have a subresource, as in "deployments/scale".
	Group    string
	Resource string
	// Namespace is empty for the whole cluster.
	Namespace string
	// Name is empty for all objects of the kind.
	Name string
	// URL is set for a right to a path that is no object, such as "/metrics". Then only Verb counts beside it.
	URL string
}

// Need is a right that an installation takes, and what for.
type Need struct {
	Right
	// Granted is set for what is needed only because a Role of the release grants it.
	Granted bool
	// Why names the first thing it is for.
	Why string
}

// String reads as "create deployments.apps in namespace nap".
func (r Right) String() string {
	if r.URL != "" {
		return r.Verb + " " + r.URL
	}
	resource := r.Resource
	if r.Group != "" {
		resource += "." + r.Group
	}
	if r.Name != "" {
		resource += " " + r.Name
	}
	if r.Namespace == "" {
		return fmt.Sprintf("%s %s in the whole cluster", r.Verb, resource)
	}
	return fmt.Sprintf("%s %s in namespace %s", r.Verb, resource, r.Namespace)
}

// Covers says whether who has r may do all that other allows.
func (r Right) Covers(other Right) bool {
	if r.URL != "" || other.URL != "" {
		return r.URL == other.URL && wide(r.Verb, other.Verb)
	}
	return wide(r.Verb, other.Verb) && wide(r.Group, other.Group) && wide(r.Resource, other.Resource) &&
		(r.Namespace == "" || r.Namespace == other.Namespace) && (r.Name == "" || r.Name == other.Name)
}

func wide(have, want string) bool { return have == "*" || have == want }

func compare(a, b Right) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource),
		cmp.Compare(a.URL, b.URL), cmp.Compare(a.Name, b.Name), cmp.Compare(order(a.Verb), order(b.Verb)), cmp.Compare(a.Verb, b.Verb))
}

// order puts verbs as people write them.
func order(verb string) int {
	return slices.Index([]string{"*", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}, verb)
}

// minimal sorts needs and drops those that others cover. What Helm needs itself wins over what is only granted.
func minimal(needs []Need) []Need {
	needs = slices.Clone(needs)
	slices.SortStableFunc(needs, func(a, b Need) int {
		return cmp.Or(compare(a.Right, b.Right), cmp.Compare(weight(a), weight(b)))
	})
	needs = slices.CompactFunc(needs, func(a, b Need) bool { return a.Right == b.Right })
	// Few of them are wide enough to cover another.
	var wider []Right
	for _, need := range needs {
		if need.Namespace == "" || need.Name == "" || need.Verb == "*" {
			wider = append(wider, need.Right)
		}
	}
	return slices.DeleteFunc(needs, func(need Need) bool {
		return slices.ContainsFunc(wider, func(other Right) bool { return other != need.Right && other.Covers(need.Right) })
	})
}

func weight(need Need) int {
	if need.Granted {
		return 1
	}
	return 0
}

// Sort puts needs in the order in which they are told.
func Sort(needs []Need) {
	slices.SortStableFunc(needs, func(a, b Need) int { return compare(a.Right, b.Right) })
}

// Uncovered are the needs that none of the rights covers.
func Uncovered(needs []Need, held []Right) []Need {
	return slices.DeleteFunc(slices.Clone(needs), func(need Need) bool {
		return slices.ContainsFunc(held, func(right Right) bool { return right.Covers(need.Right) })
	})
}

// Expand makes one right of each combination that a rule allows.
func Expand(verbs, groups, resources, names []string, namespace string) []Right {
	if len(names) == 0 {
		names = []string{""}
	}
	var rights []Right
	for _, group := range groups {
		for _, resource := range resources {
			for _, name := range names {
				for _, verb := range verbs {
					rights = append(rights, Right{Verb: verb, Group: group, Resource: resource, Namespace: namespace, Name: name})
				}
			}
		}
	}
	return rights
}
