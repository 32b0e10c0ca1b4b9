package values

import (
	"testing"

	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/preflight/check/checktest"
	"github.com/neutree-ai/packaging/internal/requirement"
)

func TestAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		refusal string
		want    []string
	}{
		"no objection": {"", nil},
		"several": {"execution error at (validate.yaml:3:4):\nThe release can't be installed like this:\n  - " +
			"claim a is another's: give it another name\n- b: c: d\n", []string{
			"claim a is another's -> give it another name", "b -> c: d"}},
		"one line": {"forbidden:\n secrets", []string{"forbidden -> secrets"}},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := accepted(t.Context(),
				&preflight.Subject{Requirements: &requirement.Set{Refusal: c.refusal}})
			if err != nil {
				t.Fatal(err)
			}
			checktest.Want(t, findings, c.want...)
		})
	}
}

// What is said without a way out is told all the same.
func TestReasonWithoutAFix(t *testing.T) {
	if got := finding("it is Tuesday"); got.Found != "it is Tuesday" || got.Fix != "" || got.Why == "" {
		t.Errorf("%+v", got)
	}
}

func TestNullsThatKeepTheirDefaultsAreNamed(t *testing.T) {
	findings, err := nulls(t.Context(), &preflight.Subject{Requirements: &requirement.Set{KeptNulls: []string{
		"global.exposure.nodePorts.web", "global.hooks.resources.limits.cpu"}}})
	if err != nil {
		t.Fatal(err)
	}
	checktest.Want(t, findings,
		"global.exposure.nodePorts.web is null, and keeps its default all the same -> "+
			"set global.exposure.nodePorts.web to the value that you want, or remove the line",
		`global.hooks.resources.limits.cpu is null, and keeps its default all the same -> `+
			`set global.hooks.resources.limits.cpu to "" for none`)
}
