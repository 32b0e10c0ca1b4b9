package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/neutree-ai/packaging/test/testbed/internal/member"
	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
	"github.com/neutree-ai/packaging/test/testbed/internal/provisioner"
	"github.com/neutree-ai/packaging/test/testbed/internal/registry"
)

// RunServices serves images and volumes until ctx ends.
func RunServices(ctx context.Context, c *plan.Cluster) error {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(serveRegistry(ctx, c)) }()
	go func() { cancel(serveVolumes(ctx, c)) }()
	<-ctx.Done()
	return context.Cause(ctx)
}

// serveRegistry listens on the registry's address only when all images are in, so that an open port means so.
func serveRegistry(ctx context.Context, c *plan.Cluster) error {
	list, err := registry.ReadList(c.Images())
	if err != nil {
		return err
	}
	handler, err := registry.New(c.Path("registry"), list)
	if err != nil {
		return err
	}
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve the registry: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(inside) }()
	if err := registry.Push(ctx, inside.Addr().String(), list); err != nil {
		return err
	}
	outside, err := net.Listen("tcp", c.Registry())
	if err != nil {
		return fmt.Errorf("serve the registry: %w", err)
	}
	go func() { failed <- server.Serve(outside) }()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the registry: %w", err)
	}
	return ctx.Err()
}

func serveVolumes(ctx context.Context, c *plan.Cluster) error {
	if err := member.APIServerReady(c)(ctx); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read %s: %w", c.Kubeconfig(), err)
	}
	// The API server bounds by itself what it is asked; the library's 5 requests a second are a volume a second.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	return provisioner.Run(ctx, client, c.Path("volumes"))
}
