package backupjob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// Exec runs a command in a container of a pod until it ends, as podexec.Client does.
type Exec interface {
	Exec(ctx context.Context, namespace, pod, container string, command []string,
		stdin io.Reader, stdout, stderr io.Writer) error
}

// Push stores a backup in the PVC, which is made if it is missing: the backup called name, which write writes as a
// tar. It returns what the backup holds, in one sentence. A backup that is there already is left as it is.
func (r *Runner) Push(ctx context.Context, exec Exec, name string, write func(io.Writer) error) (string, error) {
	if err := backup.ValidateName(name); err != nil {
		return "", err
	}
	if err := r.EnsureClaim(ctx); err != nil {
		return "", err
	}
	reader, writer := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(writer)
		_ = writer.CloseWithError(err)
		wrote <- err
	}()
	said, err := r.transfer(ctx, exec, []string{"receive", "--name=" + name}, r.counted(reader, "sent"), nil)
	// The other end reads no more: it has failed, or has the backup already.
	_ = reader.CloseWithError(errEnded)
	if werr := <-wrote; werr != nil && !errors.Is(werr, errEnded) {
		// The other end only heard that there is no more.
		return "", werr
	}
	return said, err
}

// errEnded stops what feeds a command that has ended.
var errEnded = errors.New("the command has ended")

// Pull reads the backup called name out of the PVC: read gets it as a tar.
func (r *Runner) Pull(ctx context.Context, exec Exec, name string, read func(io.Reader) error) error {
	if err := r.needClaim(ctx, name); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := read(r.counted(reader, "received"))
		if err == nil {
			// A tar has an end behind its last file.
			_, _ = io.Copy(io.Discard, reader)
		} else {
			_ = reader.CloseWithError(err)
			cancel()
		}
		got <- err
	}()
	_, err := r.transfer(ctx, exec, []string{"send", "--name=" + name}, nil, writer)
	_ = writer.CloseWithError(err)
	if rerr := <-got; rerr != nil && (err == nil || !errors.Is(rerr, err)) {
		return rerr
	}
	return err
}

// transfer runs a command of nap-hooks in a pod that has the PVC, and returns what it said last. The pod belongs to a
// Job of this client's, which ends by itself should the client be killed.
func (r *Runner) transfer(ctx context.Context, exec Exec, args []string, stdin io.Reader, stdout io.Writer) (
	string, error) {
	job := own(withoutCopies(r.Plan.Create))
	job.Spec.BackoffLimit = ptr.To(int32(0))
	main := job.Spec.Template.Spec.Containers[0]
	if len(main.Command) == 0 {
		return "", fmt.Errorf("the release's Job for backups names no command to run in its pod: upgrade the release first")
	}
	hold := []string{"hold"}
	if end, has := ctx.Deadline(); has {
		// The person's time bounds the transfer, and not that of a backup, which the manifest has.
		left := max(time.Until(end).Round(time.Second), time.Second)
		job.Spec.ActiveDeadlineSeconds = ptr.To(int64((left + endTime).Seconds()))
		hold, args = append(hold, "--timeout="+left.String()), append(args, "--timeout="+left.String())
	}
	name := fmt.Sprintf("%s-copy-%s", job.Name, rand.String(4))
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := r.run(running, job, name, hold...)
		ended <- err
	}()
	said := &relay{log: r.Log}
	pod, failed, err := r.startedPod(running, name, main.Name, ended)
	if err == nil {
		command := slices.Concat(main.Command, main.Args, args)
		err = said.explain(exec.Exec(running, r.Namespace, pod, main.Name, command, stdin, stdout, said))
	}
	stop()
	if !failed {
		<-ended
	}
	if derr := afterwards(ctx, func(ctx context.Context) error { return r.deleteJob(ctx, name) }); derr != nil {
		r.Log.Warn("a Job could not be deleted; it ends by itself", "job", name, "cause", derr.Error())
	}
	if err != nil {
		return "", err
	}
	return said.last, nil
}

// endTime is how long a Job of a transfer may stay after the time of its client.
const endTime = time.Minute

// startedPod is the name of the pod of a Job, once its container of that name runs. failed says that the Job has ended
// before, and err is then why.
func (r *Runner) startedPod(ctx context.Context, job, container string, ended <-chan error) (
	name string, failed bool, err error,
) {
	// What the pod waits for is said where the Job is awaited.
	quiet := slog.New(slog.DiscardHandler)
	err = hook.Poll(ctx, quiet, "the pod of Job "+job, func(ctx context.Context) (bool, string, error) {
		select {
		case err := <-ended:
			failed = true
			if err == nil {
				err = fmt.Errorf("the pod of Job %s ended before the backup could be copied: run the command again", job)
			}
			return false, "", err
		default:
		}
		pods, err := kube.List[corev1.Pod](ctx, r.Client, kube.Pods, r.Namespace,
			metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		if err != nil {
			return false, kube.Brief(err), nil
		}
		for _, pod := range pods {
			for _, status := range pod.Status.ContainerStatuses {
				if status.Name == container && status.State.Running != nil && pod.DeletionTimestamp == nil {
					name = pod.Name
					return true, "", nil
				}
			}
		}
		return false, "it does not run yet", nil
	})
	return name, failed, err
}

// deleteJob deletes a Job with its pod.
func (r *Runner) deleteJob(ctx context.Context, name string) error {
	background := metav1.DeletePropagationBackground
	err := r.Client.Resource(kube.Jobs, r.Namespace).Delete(ctx, name,
		metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// relay passes the log of nap-hooks in a pod to the person.
type relay struct {
	log  *slog.Logger
	line []byte
	// last is what was said last, failure the error that the command ended with.
	last, failure string
}

// longestLine bounds what is kept of a line that does not end.
const longestLine = 64 << 10

// Write takes lines of JSON, and anything else for the last words of a program that failed.
func (r *relay) Write(p []byte) (int, error) {
	r.line = append(r.line, p...)
	for {
		line, rest, whole := bytes.Cut(r.line, []byte("\n"))
		if !whole {
			break
		}
		r.take(line)
		r.line = rest
	}
	if len(r.line) > longestLine {
		r.line = r.line[:longestLine]
	}
	return len(p), nil
}

func (r *relay) take(line []byte) {
	var entry struct{ Level, Msg, Cause, Size string }
	if err := json.Unmarshal(line, &entry); err != nil || entry.Msg == "" {
		if text := strings.TrimSpace(string(line)); text != "" {
			r.last = text
		}
		return
	}
	r.last = entry.Msg
	switch entry.Level {
	case "ERROR":
		r.failure = entry.Msg
	case "WARN":
		r.log.Warn(entry.Msg, "cause", entry.Cause)
	default:
		r.log.Info(entry.Msg, "size", entry.Size)
	}
}

// explain gives the error of a command its own words and its exit code.
func (r *relay) explain(err error) error {
	var ended interface{ ExitStatus() int }
	if !errors.As(err, &ended) {
		return err
	}
	said := r.failure
	if said == "" {
		said = fmt.Sprintf("the command in the pod ended with exit code %d: %s", ended.ExitStatus(), r.last)
	}
	code := hook.Code(ended.ExitStatus())
	if code == hook.Usage {
		said += " (a release of an older chart does not know how to copy backups: upgrade it first)"
	}
	return hook.Errorf(code, "%s", said)
}

// sayEvery is how often a copy says how far it is.
const sayEvery = 10 * time.Second

// counted says now and then how much of a stream has passed.
func (r *Runner) counted(stream io.Reader, verb string) io.Reader {
	return &counter{Reader: stream, log: r.Log, verb: verb, began: time.Now(), said: time.Now()}
}

type counter struct {
	io.Reader
	log         *slog.Logger
	verb        string
	bytes       int64
	began, said time.Time
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes += int64(n)
	if time.Since(c.said) >= sayEvery {
		c.said = time.Now()
		c.log.Info("copying the backup", c.verb, backup.Size(c.bytes),
			"elapsed", time.Since(c.began).Round(time.Second).String())
	}
	return n, err
}
