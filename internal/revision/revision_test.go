package revision

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: nap}\n"

func record(number int, status string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.neutree.v%d, namespace: "+
		"nap, labels: {owner: helm, status: %s}}\n", number, status)
}

func parse(t *testing.T, server *kubetest.Server) (*Revision, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	rev, err := Parse(slog.New(slog.NewTextHandler(&log, nil)), server.Client(), "nap/neutree/7")
	if err != nil {
		t.Fatal(err)
	}
	return rev, &log
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		records []string
		words   string
	}{
		"an upgrade":                {[]string{record(6, "deployed"), record(7, "pending-upgrade")}, ""},
		"a rollback":                {[]string{record(7, "pending-rollback")}, ""},
		"no record, as with ArgoCD": {nil, ""},
		"cancelled, or its time was over": {[]string{record(7, "failed")},
			"revision 7 is not being installed any more (Helm's record of it says failed)"},
		"being uninstalled": {[]string{record(7, "uninstalling")}, "says uninstalling"},
		"ended well":        {[]string{record(7, "deployed")}, "says deployed"},
		"rolled back after a killed client": {[]string{record(7, "pending-upgrade"), record(8, "pending-rollback")},
			"revision 8 follows it"},
		"that rollback has ended by now too": {[]string{record(7, "pending-upgrade"), record(8, "deployed")},
			"revision 8 follows it"},
	} {
		t.Run(name, func(t *testing.T) {
			rev, _ := parse(t, kubetest.New(t, append([]string{namespace}, tc.records...)...))
			err := rev.Check(t.Context())
			if tc.words == "" && err != nil || Ended(err) != (tc.words != "") {
				t.Fatalf("error %v", err)
			}
			if tc.words == "" {
				return
			}
			if hook.CodeOf(err) != hook.Refused {
				t.Errorf("exit %d, so the Job would try again", hook.CodeOf(err))
			}
			for _, words := range []string{tc.words, "run helm upgrade again", "[upgrade.cancelled]"} {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the message does not say %q: %v", words, err)
				}
			}
		})
	}
}

func TestRecordThatMayNotBeReadCountsAsPending(t *testing.T) {
	server := kubetest.New(t, namespace, record(7, "failed"))
	server.Refuse(-1, http.MethodGet, "/api/v1/namespaces/nap/secrets/*", kubetest.Status(http.StatusForbidden,
		metav1.StatusReasonForbidden, "secrets is forbidden"))
	rev, log := parse(t, server)
	for range 3 {
		if err := rev.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if said := strings.Count(log.String(), "may not be read"); said != 1 {
		t.Errorf("it is logged %d times:\n%s", said, log)
	}
}

func TestSilentAPIServerDecidesNothing(t *testing.T) {
	server := kubetest.New(t, namespace, record(7, "failed"))
	server.Refuse(1, http.MethodGet, "/api/v1/namespaces/nap/secrets/*", kubetest.Status(http.StatusInternalServerError,
		metav1.StatusReasonInternalError, "etcdserver: leader changed"))
	rev, _ := parse(t, server)
	if err := rev.Check(t.Context()); err == nil || Ended(err) || hook.CodeOf(err) != hook.Unexpected ||
		!strings.Contains(err.Error(), "leader changed") {
		t.Errorf("error %v", err)
	}
	if err := rev.Check(t.Context()); !Ended(err) {
		t.Errorf("once it answers: %v", err)
	}
}

func TestWhile(t *testing.T) {
	server := kubetest.New(t, namespace, record(7, "pending-upgrade"))
	rev, _ := parse(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	working, stop := rev.While(ctx)
	defer stop()
	server.Put(record(7, "failed"))
	<-working.Done()
	if err := Cause(working, working.Err()); !Ended(err) {
		t.Errorf("it ended by %v", err)
	}
	working, stop = (*Revision)(nil).While(ctx)
	stop()
	if err := Cause(working, working.Err()); err != context.Canceled {
		t.Errorf("without a revision it ended by %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"neutree/7", "nap/neutree/x", "nap/neutree/0", "/neutree/7", "a/b/c/7"} {
		if _, err := Parse(nil, nil, text); hook.CodeOf(err) != hook.Usage {
			t.Errorf("%q: exit %d: %v", text, hook.CodeOf(err), err)
		}
	}
	if rev, err := Parse(nil, nil, ""); rev != nil || err != nil || rev.String() != "" || rev.Check(t.Context()) != nil {
		t.Errorf("no revision: %v, %v", rev, err)
	}
}
