package kube

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/neutree-ai/packaging/internal/plain"
)

// logBytes bounds what is read of a log.
const logBytes = 64 << 10

// LastLines are the last lines, at most count, that a container has written, without what a terminal would obey. It needs
// the right to get pods/log.
func (c *Client) LastLines(ctx context.Context, namespace, pod, container string, count int) ([]string, error) {
	raw, err := c.rest.Get().AbsPath("api", "v1", "namespaces", namespace, "pods", pod, "log").
		Param("container", container).Param("tailLines", strconv.Itoa(count)).Param("limitBytes", strconv.Itoa(logBytes)).
		DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s of pod %s/%s: %w", container, namespace, pod, err)
	}
	return strings.Split(strings.TrimRight(plain.Text(string(raw)), "\n"), "\n"), nil
}
