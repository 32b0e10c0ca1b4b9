package probe

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/poddiag"
)

// PullResult is what became of one image on one node.
type PullResult struct {
	Image string
	State poddiag.Pull
	// Message is the kubelet's, if it failed.
	Message string
}

// Pull starts a pod of p's images and waits until each is on the node or has failed to get there. When ctx
// ends before, the rest is told as unknown. The results are in the order of the images.
func (s *Session) Pull(ctx context.Context, p Pod) ([]PullResult, error) {
	running, err := s.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer running.Stop()
	results := make([]PullResult, len(p.Images))
	failing := map[int]time.Time{}
	_, err = s.await(ctx, p.Namespace, running.Name, func(pod *corev1.Pod) (bool, error) {
		statuses := map[string]corev1.ContainerStatus{}
		for _, status := range pod.Status.ContainerStatuses {
			statuses[status.Name] = status
		}
		settled := true
		for i, image := range p.Images {
			results[i].Image = image.Ref
			status := statuses[imageName(i)]
			results[i].State = poddiag.PullOf(status)
			if results[i].State == poddiag.PullFailed {
				if failing[i].IsZero() {
					failing[i] = time.Now()
				}
				// A back-off tells less than the attempt before it did.
				if message := status.State.Waiting.Message; len(message) > len(results[i].Message) {
					results[i].Message = message
				}
			}
			if results[i].State == poddiag.PullUnknown || results[i].State == poddiag.PullFailed && time.Since(failing[i]) < pullPatience {
				settled = false
			}
		}
		return settled, nil
	})
	var trouble *poddiag.Trouble
	if err != nil && (errors.As(err, &trouble) || errors.Is(ctx.Err(), context.Canceled)) {
		return nil, err
	}
	return results, nil
}
