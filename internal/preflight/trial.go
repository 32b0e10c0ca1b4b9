package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Untried says that objects could not be tried, since their namespace does not exist yet.
type Untried struct {
	Namespace string
	// Cause says why no temporary namespace could stand for it; nil where none may be created.
	Cause error
}

func (u *Untried) Error() string {
	if u.Cause != nil {
		return fmt.Sprintf("namespace %s does not exist yet, and no temporary one could stand for it: %v; create %s first",
			u.Namespace, u.Cause, u.Namespace)
	}
	return fmt.Sprintf("namespace %s does not exist yet: create it first, or leave out --no-pods, so that a temporary one "+
		"stands for it", u.Namespace)
}

func (u *Untried) Unwrap() error { return u.Cause }

// TrialNamespace is where dry runs of what a namespace is to contain are made: there, or, as long as it does not exist, in
// a temporary namespace with the labels that it will have. The error is an Untried where neither is possible.
func (s *Subject) TrialNamespace(ctx context.Context, name string) (string, error) {
	namespace, err := s.Cluster.Namespace(ctx, name)
	switch {
	case apierrors.IsForbidden(err):
		// It may exist although the caller may not read it.
		return name, nil
	case err != nil:
		return "", fmt.Errorf("read namespace %s: %w", name, err)
	case namespace != nil:
		return name, nil
	case s.Probes == nil:
		return "", &Untried{Namespace: name}
	}
	temporary, err := s.Probes.Like(ctx, name, s.labelsOf(name))
	if err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", &Untried{Namespace: name, Cause: err}
	}
	return temporary, nil
}

// labelsOf are those that the release gives a namespace that it creates.
func (s *Subject) labelsOf(name string) map[string]string {
	for _, object := range s.Requirements.Objects {
		if object.GetKind() == "Namespace" && object.GetName() == name && object.Hook == nil {
			return object.GetLabels()
		}
	}
	return nil
}

// Renamed gives the API server's words about something in a temporary namespace as it would say them of the namespace that
// it stands for.
func Renamed(err error, temporary, name string) error {
	var status *apierrors.StatusError
	if temporary == name || !errors.As(err, &status) {
		return err
	}
	renamed := *status.ErrStatus.DeepCopy()
	renamed.Message = strings.ReplaceAll(renamed.Message, temporary, name)
	return &apierrors.StatusError{ErrStatus: renamed}
}
