package backupjob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/neutree-ai/packaging/internal/backupjob"
	"github.com/neutree-ai/packaging/internal/hook"
)

// podExec plays a command in a pod.
type podExec struct {
	command []string
	pod     string
	do      func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error
	before  func()
}

func (e *podExec) Exec(ctx context.Context, namespace, pod, container string, command []string,
	stdin io.Reader, stdout, stderr io.Writer) error {
	e.pod, e.command = namespace+"/"+pod+"/"+container, command
	if e.before != nil {
		e.before()
	}
	return e.do(ctx, stdin, stdout, stderr)
}

// failing ends with a line of the log and an exit code.
func failing(code int, line string) func(context.Context, io.Reader, io.Writer, io.Writer) error {
	return func(_ context.Context, _ io.Reader, _, stderr io.Writer) error {
		fmt.Fprintln(stderr, line)
		return utilexec.CodeExitError{Err: errors.New("command terminated"), Code: code}
	}
}

// holding has the Job's pod run until the Job is deleted.
func (c *cluster) holding() *cluster {
	c.on("nap-backup-copy", outcome{hang: true, before: func() {
		for _, made := range c.Changes() {
			name := (&unstructured.Unstructured{Object: made.Body}).GetName()
			there := c.Object("/api/v1/namespaces/nap/pods/"+name+"-x") != nil
			if made.Method == "POST" && strings.HasPrefix(name, "nap-backup-copy-") && !there {
				// The container of a mesh is the first that runs.
				pod := func(backup string) string {
					return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "-x, namespace: nap, labels: " +
						"{batch.kubernetes.io/job-name: " + name + "}}\nstatus: {phase: Running, containerStatuses: " +
						"[{name: mesh, image: i, state: {running: {}}}, {name: backup, image: i, state: {" + backup + ": {}}}]}"
				}
				c.Put(pod("waiting"))
				time.Sleep(100 * time.Millisecond)
				c.started.Store(true)
				c.Put(pod("running"))
			}
		}
	}})
	return c
}

func (c *cluster) copier() *backupjob.Runner {
	r := c.runner()
	r.Plan.Create.Spec.Template.Spec.Containers[0].Command = []string{"/neutree/nap-hooks"}
	return r
}

// wantNoJob asserts that the Job of a copy is gone.
func (c *cluster) wantNoJob() {
	c.t.Helper()
	for _, made := range c.Changes() {
		name := (&unstructured.Unstructured{Object: made.Body}).GetName()
		if made.Method == "POST" && strings.HasPrefix(name, "nap-backup-copy-") && c.Object(jobs+name) != nil {
			c.t.Errorf("Job %s is left", name)
		}
	}
}

func TestPush(t *testing.T) {
	c := newCluster(t).holding()
	c.Delete(claimPath)
	var got strings.Builder
	exec := &podExec{do: func(_ context.Context, stdin io.Reader, _, stderr io.Writer) error {
		_, err := io.Copy(&got, stdin)
		fmt.Fprintln(stderr, `{"level":"INFO","msg":"receiving the backup","name":"b1","size":"1.0 KiB"}`)
		fmt.Fprint(stderr, `{"level":"INFO","msg":"backup `)
		fmt.Fprintln(stderr, `complete"}`)
		return err
	}, before: func() {
		if !c.started.Load() {
			t.Error("the command comes before its container runs")
		}
	}}
	said, err := c.copier().Push(within(t, 2*time.Hour), exec, "b1", func(w io.Writer) error {
		_, err := io.WriteString(w, "a tar")
		return err
	})
	if err != nil || said != "backup complete" || got.String() != "a tar" {
		t.Errorf("%q %q %v", said, got.String(), err)
	}
	if c.Object(claimPath) == nil {
		t.Error("there is no claim")
	}
	if args := c.argsOf("nap-backup-copy-"); !slices.Equal(args, []string{"backup", "hold", "--timeout=2h0m0s"}) {
		t.Errorf("the pod runs %v", args)
	}
	for _, made := range c.created() {
		seconds, is, _ := unstructured.NestedFieldNoCopy(made, "spec", "activeDeadlineSeconds")
		if made["kind"] == "Job" && (!is || fmt.Sprint(seconds) != "7260") {
			t.Errorf("the Job ends after %v s", seconds)
		}
	}
	if want := []string{"/neutree/nap-hooks", "backup", "receive", "--name=b1", "--timeout=2h0m0s"}; !slices.Equal(exec.command, want) ||
		!strings.HasPrefix(exec.pod, "nap/nap-backup-copy-") {
		t.Errorf("%s runs %v", exec.pod, exec.command)
	}
	if !strings.Contains(c.said.String(), "receiving the backup (size 1.0 KiB)") {
		t.Error(c.said.String())
	}
	c.wantNoJob()
}

func TestPushThatFails(t *testing.T) {
	write := func(w io.Writer) error {
		_, err := io.WriteString(w, "a tar")
		return err
	}
	read := func(_ context.Context, stdin io.Reader, _, _ io.Writer) error {
		_, err := io.Copy(io.Discard, stdin)
		return err
	}
	for name, tc := range map[string]struct {
		name  string
		write func(io.Writer) error
		do    func(context.Context, io.Reader, io.Writer, io.Writer) error
		code  hook.Code
		want  string
	}{
		"a name": {"../b", write, read, hook.Usage, "no name of a backup"},
		"refused": {"b1", write, failing(10, `{"level":"ERROR","msg":"the backup would not fit [backup.space]","exitCode":10}`),
			hook.Refused, "the backup would not fit [backup.space]"},
		"killed": {"b1", write, failing(137, "Killed"), 137, "the command in the pod ended with exit code 137: Killed"},
		"an older hook": {"b1", write, failing(2, `{"level":"ERROR","msg":"unknown command \"receive\""}`), hook.Usage,
			`unknown command "receive" (a release of an older chart does not know how to copy backups: upgrade it first)`},
		"a source that fails": {"b1", func(w io.Writer) error {
			_, err := io.WriteString(w, "half")
			return errors.Join(err, errors.New("the disk is gone"))
		}, func(_ context.Context, stdin io.Reader, _, stderr io.Writer) error {
			_, err := io.Copy(io.Discard, stdin)
			if err == nil {
				return errors.New("it does not know that this is not the end")
			}
			fmt.Fprintln(stderr, `{"level":"ERROR","msg":"the connection was cut"}`)
			return utilexec.CodeExitError{Err: err, Code: 1}
		}, hook.Unexpected, "the disk is gone"},
		"no connection": {"b1", write, func(context.Context, io.Reader, io.Writer, io.Writer) error {
			return errors.New("no route to host")
		}, hook.Unexpected, "no route to host"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t).holding()
			_, err := c.copier().Push(within(t, 10*time.Second), &podExec{do: tc.do}, tc.name, tc.write)
			if hook.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("exit %d: %v", hook.CodeOf(err), err)
			}
			c.wantNoJob()
		})
	}
}

func TestPushIntoAPodThatDoesNotStart(t *testing.T) {
	c := newCluster(t)
	c.on("nap-backup-copy", outcome{code: 2, message: "unknown command hold"})
	exec := &podExec{do: func(context.Context, io.Reader, io.Writer, io.Writer) error { return errors.New("not reached") }}
	_, err := c.copier().Push(within(t, 10*time.Second), exec, "b1", func(io.Writer) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "unknown command hold") || exec.pod != "" {
		t.Errorf("%v", err)
	}
	c.wantNoJob()
}

func TestPull(t *testing.T) {
	c := newCluster(t).holding()
	exec := &podExec{do: func(_ context.Context, _ io.Reader, stdout, _ io.Writer) error {
		_, err := io.WriteString(stdout, "a tar, and its end")
		return err
	}}
	var got string
	err := c.copier().Pull(within(t, 10*time.Second), exec, "b1", func(r io.Reader) error {
		raw := make([]byte, len("a tar"))
		_, err := io.ReadFull(r, raw)
		got = string(raw)
		return err
	})
	if err != nil || got != "a tar" {
		t.Errorf("%q %v", got, err)
	}
	if want := []string{"/neutree/nap-hooks", "backup", "send", "--name=b1"}; !slices.Equal(exec.command[:4], want) {
		t.Errorf("it runs %v", exec.command)
	}
	c.wantNoJob()
}

func TestPullThatFails(t *testing.T) {
	all := func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	endless := func(ctx context.Context, _ io.Reader, stdout, _ io.Writer) error {
		for ctx.Err() == nil {
			if _, err := io.WriteString(stdout, "more"); err != nil {
				// As the real one, which does not look at what it writes to.
				<-ctx.Done()
			}
		}
		return ctx.Err()
	}
	for name, tc := range map[string]struct {
		read func(io.Reader) error
		do   func(context.Context, io.Reader, io.Writer, io.Writer) error
		code hook.Code
		want string
	}{
		"no such backup": {all, failing(10, `{"level":"ERROR","msg":"there is no backup b1 [backup.missing]"}`), hook.Refused,
			"there is no backup b1 [backup.missing]"},
		"a disk that is full": {func(io.Reader) error { return errors.New("no space left") }, endless, hook.Unexpected,
			"no space left"},
		"a connection that is cut": {func(r io.Reader) error {
			_, err := io.ReadFull(r, make([]byte, 10))
			return err
		}, func(_ context.Context, _ io.Reader, stdout, _ io.Writer) error {
			_, err := io.WriteString(stdout, "half")
			return err
		}, hook.Unexpected, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t).holding()
			err := c.copier().Pull(within(t, 10*time.Second), &podExec{do: tc.do}, "b1", tc.read)
			if hook.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("exit %d: %v", hook.CodeOf(err), err)
			}
			c.wantNoJob()
		})
	}
	c := newCluster(t)
	c.Delete(claimPath)
	if err := c.copier().Pull(t.Context(), &podExec{}, "b1", all); hook.CodeOf(err) != hook.Refused ||
		!strings.Contains(err.Error(), "has no claim nap-backups, so no backup was made yet") {
		t.Errorf("%v", err)
	}
}
