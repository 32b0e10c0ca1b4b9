// Package catalog lists the cluster tests: what each costs and what it needs of a cluster.
package catalog

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Suite is a package of cluster tests.
type Suite struct {
	Name string
	// Module and Package are folders: the module's, from the repository's root, and the package's in it.
	Module, Package string
}

// The packages that hold cluster tests.
var (
	Platform = Suite{Name: "e2e", Module: ".", Package: "test/e2e"}
	Testbed  = Suite{Name: "testbed", Module: "test/testbed", Package: "e2e"}
	Lifetime = Suite{Name: "lifetime", Module: "test/testbed", Package: "lifetime"}
)

// Suites are all of them.
func Suites() []Suite { return []Suite{Platform, Testbed, Lifetime} }

// Needs says which cluster a test runs on. The zero value is a testbed of three nodes that enforces NetworkPolicies.
type Needs struct {
	// Nodes is how many nodes the cluster must have, if that matters.
	Nodes int
	// NoPolicies needs a testbed that does not enforce NetworkPolicies.
	NoPolicies bool
	// Audit needs the API server's audit log.
	Audit bool
	// Breaks may leave the cluster broken: no other test runs on it afterwards.
	Breaks bool
	// Testbed cannot run on a user's own cluster.
	Testbed bool
	// None needs no cluster: the test brings up testbeds itself.
	None bool
}

// Test is a part of a suite that runs in a process of its own.
type Test struct {
	// Name is unique. It is the name of the test function unless Functions are named.
	Name  string
	Suite Suite
	// Functions are the test functions, if they are others than Name.
	Functions []string
	// Sub narrows it to subtests, and Rest to those that no other part of the same function has.
	Sub  string
	Rest bool
	// Cost is how many seconds it takes: a hint that decides which test begins first.
	Cost int
	// Limit is how long it may take; without one it is four times the cost, and five minutes at least.
	Limit time.Duration
	Needs Needs
	// Run and Skip are what the test binary is told. Select sets them.
	Run, Skip string
}

// functions are the names of the test functions that it runs.
func (t Test) functions() []string {
	if len(t.Functions) > 0 {
		return t.Functions
	}
	name, _, _ := strings.Cut(t.Name, "/")
	return []string{name}
}

// Bound is how long the test may take.
func (t Test) Bound() time.Duration {
	if t.Limit > 0 {
		return t.Limit
	}
	return max(5*time.Minute, time.Duration(4*t.Cost)*time.Second)
}

// Select returns the tests that a pattern of go test names, with what their binaries are told. The empty pattern names
// all of them.
func Select(all []Test, pattern string) ([]Test, error) {
	top, sub, narrowed := strings.Cut(pattern, "/")
	match, err := regexp.Compile(top)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	var selected []Test
	whole := map[string]bool{}
	for _, test := range all {
		var functions []string
		for _, function := range test.functions() {
			if match.MatchString(function) {
				functions = append(functions, function)
			}
		}
		if len(functions) == 0 {
			continue
		}
		test.Run = exactly(functions)
		switch {
		case narrowed:
			// The subtests may be in any of its parts.
			if whole[test.Run] {
				continue
			}
			whole[test.Run] = true
			test.Name, test.Run = strings.Join(functions, "+"), test.Run+"/"+sub
		case test.Sub != "":
			test.Run += "/" + test.Sub
		case test.Rest:
			test.Skip = others(all, test)
		}
		selected = append(selected, test)
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("no cluster test matches %q", pattern)
	}
	return selected, nil
}

// exactly is a pattern that matches only these functions.
func exactly(functions []string) string {
	if len(functions) == 1 {
		return "^" + functions[0] + "$"
	}
	return "^(" + strings.Join(functions, "|") + ")$"
}

// others is the pattern of the subtests that other parts of the same function run.
func others(all []Test, rest Test) string {
	var patterns []string
	for _, test := range all {
		if test.Sub != "" && test.functions()[0] == rest.functions()[0] {
			patterns = append(patterns, exactly(rest.functions())+"/"+test.Sub)
		}
	}
	return strings.Join(patterns, "|")
}
