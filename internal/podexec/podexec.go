// Package podexec runs commands in containers that are running, as kubectl exec does.
package podexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/neutree-ai/packaging/internal/kube"
)

// Client runs commands by WebSocket, and by SPDY where the API server or a proxy before it does not know WebSockets.
type Client struct{ config *rest.Config }

// New returns a Client for the cluster of config.
func New(config *rest.Config) *Client { return &Client{config: config} }

// Exec runs command in a container of a pod until it ends. Streams that are nil are left out. The error of a command
// that ended with another code than 0 has the method ExitStatus. The caller needs the rights to get and create
// pods/exec.
func (c *Client) Exec(ctx context.Context, namespace, pod, container string, command []string,
	stdin io.Reader, stdout, stderr io.Writer) error {
	address, err := c.address(namespace, pod, container, command, stdin != nil, stdout != nil, stderr != nil)
	if err != nil {
		return err
	}
	socket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", address.String())
	if err != nil {
		return fmt.Errorf("prepare a command in pod %s of namespace %s: %w", pod, namespace, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", address)
	if err != nil {
		return fmt.Errorf("prepare a command in pod %s of namespace %s: %w", pod, namespace, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	var ended interface{ ExitStatus() int }
	switch {
	case err == nil, errors.As(err, &ended):
		return err
	case strings.Contains(err.Error(), " is forbidden: "):
		// Of a refusal the library passes on the text alone.
		err = &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden,
			Reason: metav1.StatusReasonForbidden, Message: err.Error()}}
		return kube.Refused(err, "run a command in pod %s of namespace %s", pod, namespace)
	}
	return fmt.Errorf("run a command in pod %s of namespace %s: %w", pod, namespace, err)
}

// address is that of the subresource, with the command.
func (c *Client) address(namespace, pod, container string, command []string, stdin, stdout, stderr bool) (
	*url.URL, error) {
	base, _, err := rest.DefaultServerUrlFor(c.config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	query := url.Values{"container": {container}, "command": command}
	for name, wanted := range map[string]bool{"stdin": stdin, "stdout": stdout, "stderr": stderr} {
		if wanted {
			query.Set(name, "true")
		}
	}
	address := base.JoinPath("api", "v1", "namespaces", namespace, "pods", pod, "exec")
	address.RawQuery = query.Encode()
	return address, nil
}
