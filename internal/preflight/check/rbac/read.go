// Package rbac checks whether the caller may install: each right that Helm takes, and each that a
// role of the release grants.
package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/rbac"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return []preflight.Check{
		{ID: "rbac.install", Title: "You may do all that Helm does", Needs: preflight.Cluster, Severity: preflight.Error, Run: lacks(false)},
		{ID: "rbac.grant", Title: "You hold every right that roles of the release grant", Needs: preflight.Cluster, Severity: preflight.Error, Run: lacks(true)},
	}
}

func lacks(granted bool) func(context.Context, *preflight.Subject) ([]preflight.Finding, error) {
	return func(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
		missing, err := cluster.Once(ctx, s.Cluster, "access/missing", func(ctx context.Context) ([]rbac.Need, error) { return missing(ctx, s) })
		if err != nil {
			return nil, err
		}
		missing = slices.DeleteFunc(slices.Clone(missing), func(n rbac.Need) bool { return n.Granted != granted })
		if len(missing) == 0 {
			return nil, nil
		}
		if granted {
			missing, err = withoutEscalation(ctx, s, missing)
			if err != nil {
				return nil, err
			}
		}
		return findings(missing, whoami(ctx, s), s), nil
	}
}

// missing are the needs that the caller has no right for, found in few calls: one for those who may do everything,
// two more for what their roles say, and one for each right that is still open.
func missing(ctx context.Context, s *preflight.Subject) ([]rbac.Need, error) {
	all, err := allowed(ctx, s, rbac.Right{Verb: "*", Group: "*", Resource: "*"})
	if err != nil || all {
		return nil, err
	}
	mapper, err := s.Cluster.Mapper(ctx)
	if err != nil {
		return nil, err
	}
	absent, err := absentNamespaces(ctx, s)
	if err != nil {
		return nil, err
	}
	needs, err := rbac.Needs(s.Requirements, absent, mapper)
	if err != nil {
		return nil, err
	}
	held, err := rules(ctx, s)
	if err != nil {
		return nil, err
	}
	open := rbac.Uncovered(needs, held)
	var mu sync.Mutex
	var missing []rbac.Need
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, need := range open {
		group.Go(func() error {
			ok, err := allowed(bounded, s, need.Right)
			if err != nil {
				return err
			}
			if !ok {
				mu.Lock()
				defer mu.Unlock()
				missing = append(missing, need)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	rbac.Sort(missing)
	return missing, nil
}

// atOnce bounds the questions that are under way.
const atOnce = 8

func absentNamespaces(ctx context.Context, s *preflight.Subject) ([]string, error) {
	wanted := []string{s.Requirements.Namespace}
	if s.Requirements.WorkspacesCreated && s.Requirements.Workspaces != s.Requirements.Namespace {
		wanted = append(wanted, s.Requirements.Workspaces)
	}
	var absent []string
	for _, name := range wanted {
		namespace, err := s.Cluster.Namespace(ctx, name)
		switch {
		case apierrors.IsForbidden(err):
			// Who may not look is taken at their word that it is there.
		case err != nil:
			return nil, fmt.Errorf("read namespace %s: %w", name, err)
		case namespace == nil:
			absent = append(absent, name)
		}
	}
	return absent, nil
}

// nowhere is no namespace, so only what holds in the whole cluster holds there.
const nowhere = "neutree-preflight-no-such-namespace"

// rules asks for the caller's rules: those of the whole cluster, and those of each namespace. What an authorizer
// can't list is asked for right by right afterwards.
func rules(ctx context.Context, s *preflight.Subject) ([]rbac.Right, error) {
	var held []rbac.Right
	scopes := []string{nowhere, s.Requirements.Namespace}
	if s.Requirements.Workspaces != s.Requirements.Namespace {
		scopes = append(scopes, s.Requirements.Workspaces)
	}
	for _, scope := range scopes {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: scope}}
		answer, err := s.Cluster.Typed.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask for your own rights: %w", err)
		}
		namespace := scope
		if scope == nowhere {
			namespace = ""
		}
		for _, rule := range answer.Status.ResourceRules {
			held = append(held, rbac.Expand(rule.Verbs, rule.APIGroups, rule.Resources, rule.ResourceNames, namespace)...)
		}
	}
	return held, nil
}

func allowed(ctx context.Context, s *preflight.Subject, right rbac.Right) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if right.URL != "" {
		review.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: right.URL, Verb: right.Verb}
	} else {
		resource, sub, _ := strings.Cut(right.Resource, "/")
		review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Namespace: right.Namespace, Verb: right.Verb, Group: right.Group, Resource: resource, Subresource: sub, Name: right.Name,
		}
	}
	answer, err := s.Cluster.Typed.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether you may %s: %w", right, err)
	}
	return answer.Status.Allowed, nil
}

// withoutEscalation drops what whoever may escalate and bind can grant without holding it.
func withoutEscalation(ctx context.Context, s *preflight.Subject, missing []rbac.Need) ([]rbac.Need, error) {
	free := map[string]bool{}
	var left []rbac.Need
	for _, need := range missing {
		ok, asked := free[need.Namespace]
		if !asked {
			resource := "roles"
			if need.Namespace == "" {
				resource = "clusterroles"
			}
			ok = true
			for _, verb := range []string{"escalate", "bind"} {
				may, err := allowed(ctx, s, rbac.Right{Verb: verb, Group: "rbac.authorization.k8s.io", Resource: resource, Namespace: need.Namespace})
				if err != nil {
					return nil, err
				}
				ok = ok && may
			}
			free[need.Namespace] = ok
		}
		if !ok {
			left = append(left, need)
		}
	}
	return left, nil
}

// whoami is the caller's name as the API server knows it.
func whoami(ctx context.Context, s *preflight.Subject) string {
	review, err := s.Cluster.Typed.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}

// few is how many missing rights a finding spells out.
const few = 6

// findings makes one of each namespace, and one of the whole cluster.
func findings(missing []rbac.Need, user string, s *preflight.Subject) []preflight.Finding {
	scopes := map[string][]rbac.Need{}
	var order []string
	for _, need := range missing {
		if scopes[need.Namespace] == nil {
			order = append(order, need.Namespace)
		}
		scopes[need.Namespace] = append(scopes[need.Namespace], need)
	}
	var all []preflight.Finding
	for _, scope := range order {
		lacks := scopes[scope]
		var words []string
		for _, need := range lacks[:min(few, len(lacks))] {
			words = append(words, fmt.Sprintf("%s (%s)", need.Right, need.Why))
		}
		text := strings.Join(words, "; ")
		if len(lacks) > few {
			text += fmt.Sprintf("; and %d more", len(lacks)-few)
		}
		why := "Helm fails half-way"
		if lacks[0].Granted {
			why = "Kubernetes lets nobody grant what they do not hold, so it refuses the role"
		}
		all = append(all, preflight.Finding{
			Object: object(scope),
			Found:  fmt.Sprintf("%s may not %s", who(user), text), Why: why,
			Fix: fmt.Sprintf("let an administrator run: helm neutree rbac %s %s --namespace %s%s | kubectl apply -f -", s.Requirements.Release, chartOf(s), s.Requirements.Namespace, subject(user)),
		})
	}
	return all
}

func object(scope string) string {
	if scope == "" {
		return "the whole cluster"
	}
	return "Namespace " + scope
}

func who(user string) string {
	if user == "" {
		return "you"
	}
	return user
}

func chartOf(s *preflight.Subject) string {
	if s.Requirements.Chart.Path != "" {
		return s.Requirements.Chart.Path
	}
	return "CHART"
}

// subject is the option of `helm neutree rbac` that names the user.
func subject(user string) string {
	const accounts = "system:serviceaccount:"
	switch {
	case user == "":
		return ""
	case strings.HasPrefix(user, accounts):
		return " --subject=serviceaccount:" + strings.TrimPrefix(user, accounts)
	}
	return fmt.Sprintf(" --subject=user:%q", user)
}
