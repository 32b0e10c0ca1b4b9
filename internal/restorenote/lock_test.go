package restorenote

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
)

// losing loses the answers of as many writes of the note as it is set to, after they have arrived.
type losing struct {
	next http.RoundTripper
	// writes counts down; what it does not lose it sends twice where again is set, as a connection that breaks has it.
	writes atomic.Int64
	again  atomic.Bool
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut {
		return l.next.RoundTrip(r)
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	answer, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch {
	case l.writes.Add(-1) >= 0:
		_ = answer.Body.Close()
		return nil, io.ErrUnexpectedEOF
	case l.again.Swap(false):
		_ = answer.Body.Close()
		second := r.Clone(r.Context())
		second.Body = body
		return l.next.RoundTrip(second)
	}
	return answer, nil
}

func held(t *testing.T) (*kubetest.Server, *losing, *Lock) {
	t.Helper()
	server := kubetest.New(t, namespace)
	lost := &losing{}
	config := server.Config()
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { lost.next = next; return lost }
	client, err := kube.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := Create(t.Context(), client, "nap", "nap-restore", "neutree", Note{Backup: "b1", ID: "1", Phase: Stopping,
		Replicas: map[string]int32{"nap-cp": 2}})
	if err != nil {
		t.Fatal(err)
	}
	return server, lost, lock
}

func stored(t *testing.T, server *kubetest.Server) Note {
	t.Helper()
	note, config, err := Read(t.Context(), server.Client(), "nap", "nap-restore")
	if err != nil || note == nil {
		t.Fatalf("%v, %v", note, err)
	}
	note.Safety = config.Data[WorkspacesKey]
	return *note
}

// A sign of life whose answer is lost must not be taken for the change that follows it: that one would be lost.
func TestALostAnswerLosesNoChange(t *testing.T) {
	server, lost, lock := held(t)
	for n, phase := range []Phase{Restoring, Restored} {
		lost.writes.Store(int64(n + 1))
		for range n + 1 {
			if err := lock.Change(t.Context(), func(*Note) {}); err == nil || errors.Is(err, ErrLost) {
				t.Fatalf("the answer was not lost: %v", err)
			}
		}
		if err := lock.Advance(t.Context(), phase, string(phase)); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, server); got.Phase != phase || got.Safety != string(phase) || lock.Get().Phase != phase {
			t.Errorf("it is noted as %s with %s, not %s", got.Phase, got.Safety, phase)
		}
	}
	// A change that was sent twice is there.
	lost.again.Store(true)
	beat := stored(t, server).Beat
	if err := lock.Change(t.Context(), func(n *Note) { n.Safety = "s1" }); err != nil || stored(t, server).Beat != beat+1 {
		t.Errorf("%v", err)
	}
	// A change that has arrived without an answer is not undone by the next one, nor does the note count as lost.
	lost.writes.Store(1)
	if err := lock.Change(t.Context(), func(n *Note) { n.ID = "2" }); err == nil {
		t.Error("the answer was not lost")
	}
	lock.Leave(t.Context())
	if got := stored(t, server); got.Holder != "" || got.ID != "2" {
		t.Errorf("%+v", got)
	}
}

func TestTheNoteIsDeletedAfterALostAnswer(t *testing.T) {
	server, lost, lock := held(t)
	lost.writes.Store(1)
	_ = lock.Change(t.Context(), func(*Note) {})
	if err := lock.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if note, _, err := Read(t.Context(), server.Client(), "nap", "nap-restore"); note != nil || err != nil {
		t.Errorf("%v, %v", note, err)
	}
}

// A note that another client has taken over is lost, whatever was lost before.
func TestTheNoteOfAnotherClient(t *testing.T) {
	server, lost, lock := held(t)
	lost.writes.Store(1)
	_ = lock.Change(t.Context(), func(*Note) {})
	document := noteOf(`{"backup": "b1", "replicas": {"nap-cp": 2}, "phase": "stopping", "id": "1", "beat": 2, ` +
		`"holder": "someone else"}`)
	server.Replace(strings.Replace(document, "metadata: {", "metadata: {labels: {a: b}, ", 1))
	for _, do := range []func() error{
		func() error { return lock.Advance(t.Context(), Restoring) },
		func() error { return lock.Delete(t.Context()) },
	} {
		if err := do(); !errors.Is(err, ErrLost) {
			t.Errorf("it is not lost: %v", err)
		}
	}
	if got := stored(t, server); got.Holder != "someone else" || got.Phase != Stopping {
		t.Errorf("%+v", got)
	}
}
