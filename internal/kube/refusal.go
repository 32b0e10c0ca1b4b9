package kube

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// Denied is the finding of an error that says which permission is missing.
func Denied(err error) (finding.Finding, bool) {
	lacks := MissingPermission(err)
	return finding.Finding{
		ID: finding.RBACHook, Severity: finding.Error, Found: lacks,
		Fix: "grant it, or install with rights that let the chart's Roles grant it",
	}, lacks != ""
}

// Refused gives an API error the exit code that fits it: what the API server will refuse again, a person must change.
// what says in a few words what was tried.
func Refused(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	denied, is := Denied(err)
	switch {
	case is:
		denied.Found = what + ": " + denied.Found
		return hook.Refuse(denied)
	case Permanent(err):
		return hook.Refuse(finding.Finding{ID: finding.AdmissionPolicy, Severity: finding.Error, Found: what + ": " + Brief(err)})
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Refuse makes one error of everything that must be fixed: the findings, and what is such in err, as a permission that
// is missing. Only when there is nothing does another error count: a retry could end differently, but not better.
func Refuse(findings []finding.Finding, err error) error {
	all := slices.Clone(findings)
	var others []error
	for _, one := range flatten(err) {
		var coded *hook.Error
		list := finding.Of(one)
		denied, is := Denied(one)
		switch {
		case is && len(list) == 0:
			all = append(all, denied)
		case !errors.As(one, &coded):
			others = append(others, one)
		case coded.Code == hook.Refused && len(list) > 0:
			all = append(all, list...)
		default:
			return one
		}
	}
	if len(all) == 0 {
		return errors.Join(others...)
	}
	var unique []finding.Finding
	for _, f := range all {
		if !slices.Contains(unique, f) {
			unique = append(unique, f)
		}
	}
	return hook.Refuse(unique...)
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}
