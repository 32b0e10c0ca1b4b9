// Package revision says whether Helm is still working on a revision of a release, so that what works for it ends with
// it.
//
// A Helm client that is cancelled or whose time is over leaves the hooks of its upgrade running, and an older
// revision's rollback hook may not know how to stop them. What both leave behind is Helm's record.
package revision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Revision is one revision of a release that is being installed. The nil Revision is one that no record describes, such as
// a sync of ArgoCD: it counts as pending.
type Revision struct {
	Namespace, Release string
	Number             int

	log    *slog.Logger
	client *kube.Client
	// denied is logged once, and not with each question.
	denied sync.Once
}

// Parse reads NAMESPACE/RELEASE/NUMBER. An empty text stands for no revision, which is nil.
func Parse(log *slog.Logger, client *kube.Client, text string) (*Revision, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, "/")
	number, err := strconv.Atoi(parts[len(parts)-1])
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || err != nil || number < 1 {
		return nil, hook.Errorf(hook.Usage, "a revision is written NAMESPACE/RELEASE/NUMBER, not %q", text)
	}
	return &Revision{Namespace: parts[0], Release: parts[1], Number: number, log: log, client: client}, nil
}

// String is what Parse reads, "" for none.
func (r *Revision) String() string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s/%d", r.Namespace, r.Release, r.Number)
}

// answerTime bounds one question to the API server: the one who asks may hold locks in the database meanwhile.
const answerTime = 5 * time.Second

// pending are Helm's words for a revision on which a Helm client is working.
var pending = []string{"pending-install", "pending-upgrade", "pending-rollback"}

// Check returns nil while the revision is pending, and a finding with hook.Refused once it is not. Another error says
// that the API server did not answer. A record that is not there, or that may not be read, counts as pending: ArgoCD
// keeps none, and other storage drivers of Helm keep theirs elsewhere.
func (r *Revision) Check(ctx context.Context) error {
	if r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := r.status(ctx, r.Number)
	if err != nil || status == "" {
		return err
	}
	if !slices.Contains(pending, status) {
		return r.ended(fmt.Sprintf("Helm's record of it says %s", status))
	}
	// A rollback after a killed client leaves the revision pending, and only adds its own.
	next, err := r.status(ctx, r.Number+1)
	if err != nil || next == "" {
		return err
	}
	return r.ended(fmt.Sprintf("revision %d follows it", r.Number+1))
}

// Name is that of the object in which Helm keeps a revision.
func Name(release string, number int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", release, number)
}

// status is Helm's word for a revision, "" where there is no record that may be read.
func (r *Revision) status(ctx context.Context, number int) (string, error) {
	record, err := r.client.GetMetadata(ctx, kube.Secrets, r.Namespace, Name(r.Release, number))
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case apierrors.IsForbidden(err):
		r.denied.Do(func() {
			r.log.Warn("Helm's record may not be read, so the revision counts as pending", "cause", kube.Brief(err))
		})
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read Helm's record of revision %d of release %s: %s", number, r.Release, kube.Brief(err))
	}
	return record.Labels["status"], nil
}

// ended is the reason to stop.
func (r *Revision) ended(cause string) error {
	return hook.Refuse(finding.Finding{
		ID: finding.UpgradeCancelled, Severity: finding.Error,
		Object: fmt.Sprintf("release %s in namespace %s", r.Release, r.Namespace),
		Found:  fmt.Sprintf("stopped: revision %d is not being installed any more (%s)", r.Number, cause),
		Why:    "its Helm command was cancelled or its --timeout passed, and a rollback may have followed",
		Fix:    "run helm upgrade again, with a longer --timeout if that had passed",
	})
}

// Ended reports whether err says that a revision is not pending any more.
func Ended(err error) bool {
	return slices.Contains(finding.Of(err).IDs(), string(finding.UpgradeCancelled))
}

// askEvery is how soon a long step ends after its revision.
const askEvery = 2 * time.Second

// While returns a context that is cancelled once the revision is not pending any more, with the reason as its cause.
// The function it returns stops watching. An API server that does not answer for a while ends nothing: no Helm client
// can change a record meanwhile.
func (r *Revision) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() { cancel(context.Canceled) }
	if r == nil {
		return ctx, stop
	}
	go func() {
		ticker := time.NewTicker(askEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := r.Check(ctx); Ended(err) {
				cancel(err)
				return
			}
		}
	}()
	return ctx, stop
}

// Cause is why a context of While ended early, err otherwise.
func Cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && Ended(cause) && !errors.Is(err, cause) {
		return cause
	}
	return err
}
