package database

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/migrate"
	"github.com/neutree-ai/packaging/internal/restorenote"
)

const (
	// stoppedAnnotation keeps, on a Cluster whose data is upgraded, what the services were like that are stopped.
	stoppedAnnotation = "neutree.ai/stopped-services"
	majorJobs         = ",cnpg.io/jobRole=major-upgrade"
	// majorLogLines is how much of the log of a failed upgrade is shown: pg_upgrade says at its end what stops it.
	majorLogLines = 20
)

// StoppedServices are those that were stopped for an upgrade of the data, nil if none was.
func (c *Cluster) StoppedServices(ctx context.Context) (*restorenote.Services, error) {
	live, err := c.get(ctx)
	if err != nil || live == nil {
		return nil, err
	}
	note := live.GetAnnotations()[stoppedAnnotation]
	if note == "" {
		return nil, nil
	}
	services := &restorenote.Services{}
	if err := json.Unmarshal([]byte(note), services); err != nil {
		return nil, fmt.Errorf("read annotation %s of Cluster %s: %w", stoppedAnnotation, c.name, err)
	}
	if services.Replicas == nil {
		return nil, fmt.Errorf("annotation %s of Cluster %s says of no service how many pods it had", stoppedAnnotation, c.name)
	}
	return services, nil
}

// NoteStopped keeps what services were like that are stopped next; nil forgets it.
func (c *Cluster) NoteStopped(ctx context.Context, services *restorenote.Services) error {
	var note any
	if services != nil {
		raw, err := json.Marshal(services)
		if err != nil {
			return err
		}
		note = string(raw)
	}
	err := c.client.Merge(ctx, kube.Clusters, c.namespace, c.name, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{stoppedAnnotation: note}},
	})
	if err != nil {
		return fmt.Errorf("note on Cluster %s which services are stopped: %w", c.name, err)
	}
	return nil
}

// RaiseMajor gives the Cluster the image of manifest, whose major version is newer than that of the data, and returns
// when PostgreSQL of that version answers with new statistics. No service may use the database meanwhile. An upgrade
// that fails, or takes longer than patience (0: half an hour), is set back: the operator then starts the old version.
func (c *Cluster) RaiseMajor(
	ctx context.Context, manifest *unstructured.Unstructured, url string, patience time.Duration,
) error {
	bounded, cancel := context.WithTimeout(ctx, cmp.Or(patience, 30*time.Minute))
	defer cancel()
	live, err := c.get(bounded)
	if err != nil {
		return err
	}
	if live == nil {
		return fmt.Errorf("Cluster %s is gone", c.name)
	}
	desired, _, err := c.desired(manifest, live)
	if err != nil {
		return err
	}
	image, _, _ := unstructured.NestedString(manifest.Object, "spec", "imageName")
	if err := unstructured.SetNestedField(desired.Object, image, "spec", "imageName"); err != nil {
		return err
	}
	if err := c.put(bounded, desired); err != nil {
		return err
	}
	c.log.Info("the operator upgrades the data", "cluster", c.name, "image", image)
	if err := c.raised(bounded, Major(image), url); err != nil {
		if hook.CodeOf(err) != hook.Deadline && !errors.Is(err, errUpgradeFailed) {
			return err
		}
		return c.lowerAgain(ctx, live, Major(image), err)
	}
	if err := analyze(bounded, url); err != nil {
		c.log.Warn("the statistics of the upgraded database could not be renewed: queries may be slow until autovacuum has "+
			"done so, or run ANALYZE", "cause", migrate.Reason(err))
	}
	return nil
}

var errUpgradeFailed = errors.New("it failed")

// raised waits for PostgreSQL of the major version.
func (c *Cluster) raised(ctx context.Context, major int, url string) error {
	config, err := migrate.Config(url)
	if err != nil {
		return err
	}
	return hook.Poll(ctx, c.log, fmt.Sprintf("PostgreSQL %d", major), func(ctx context.Context) (bool, string, error) {
		live, err := c.client.Resource(kube.Clusters, c.namespace).Get(ctx, c.name, metav1.GetOptions{})
		if err != nil {
			return wait(err)
		}
		if is, _ := dataOf(live.Object); is < major {
			pods, err := kube.List[corev1.Pod](ctx, c.client, kube.Pods, c.namespace,
				metav1.ListOptions{LabelSelector: clusterLabel + "=" + c.name + majorJobs})
			if err != nil {
				return wait(err)
			}
			for _, pod := range pods {
				if pod.Status.Phase == corev1.PodFailed {
					c.showLog(ctx, pod)
					return false, "", fmt.Errorf("the upgrade of the data did not succeed: pod %s: %w", pod.Name, errUpgradeFailed)
				}
			}
			return false, phaseOf(live), nil
		}
		if err := askPrimary(ctx, config); err != nil {
			return false, phaseOf(live) + "; connecting: " + migrate.Reason(err), nil
		}
		return true, "", nil
	})
}

// showLog logs the end of what a failed upgrade of the data has written: the operator deletes its pod when the Cluster gets
// its old image back.
func (c *Cluster) showLog(ctx context.Context, pod corev1.Pod) {
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if ended := status.State.Terminated; ended == nil || ended.ExitCode == 0 {
			continue
		}
		lines, err := c.client.LastLines(ctx, c.namespace, pod.Name, status.Name, majorLogLines)
		if err != nil {
			c.log.Warn("the log of the failed upgrade can't be read, and is deleted with its pod", "cause", kube.Brief(err))
			return
		}
		c.log.Warn("the upgrade of the data failed: the last lines of its log follow", "pod", pod.Name, "container", status.Name)
		for _, line := range lines {
			c.log.Warn(pod.Name + ": " + messageIn(line))
		}
	}
}

// messageIn is what a line of the operator's says: the message, where the line is an object.
func messageIn(line string) string {
	var object struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal([]byte(line), &object) != nil || object.Message == "" {
		return line
	}
	return object.Message
}

// lowerAgain gives the Cluster back the image that the data was written by, and returns why.
func (c *Cluster) lowerAgain(ctx context.Context, live *unstructured.Unstructured, major int, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setBackTime)
	defer cancel()
	was := live.DeepCopy()
	// A run that continues another one finds the new image in the spec already.
	if data, image := dataOf(live.Object); image != "" && data < major {
		if err := unstructured.SetNestedField(was.Object, image, "spec", "imageName"); err != nil {
			return err
		}
	}
	why := "the Cluster is set back to its image, with which the operator starts the database as it was"
	if err := c.put(ctx, was); err != nil {
		why = fmt.Sprintf("the Cluster could not be set back to its image: %v", err)
	}
	return hook.Refuse(finding.Finding{
		ID: finding.UpgradeDatabaseMajor, Severity: finding.Error, Value: "global.images.postgresql",
		Object: fmt.Sprintf("Cluster %s/%s", c.namespace, c.name),
		Found:  fmt.Sprintf("the data could not be upgraded to PostgreSQL %d: %v", major, cause),
		Why:    why,
		Fix:    "read the end of its log above, and see docs/upgrade.md",
	})
}

// endTime is how long EndRaise leaves an upgrade of the data that is running.
const endTime = 90 * time.Second

// EndRaise ends an upgrade of the data that its own run did not end, and reports whether it has ended. The Cluster gets the
// image back that its data was written by, with which the operator starts the old version. Data that is upgraded by now
// stays so. pg_upgrade must not be stopped while it links files, since the old version does not start on them then: an
// upgrade that is at work is given the time that patience says (0: 90 seconds) to end, and is left alone after it.
func (c *Cluster) EndRaise(ctx context.Context, patience time.Duration) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, cmp.Or(patience, endTime))
	defer cancel()
	var back *unstructured.Unstructured
	const what = "the upgrade of PostgreSQL's data to end"
	err := hook.Poll(waiting, c.log, what, func(ctx context.Context) (bool, string, error) {
		live, err := c.get(ctx)
		if err != nil {
			return wait(err)
		}
		back = live
		if !raising(live) {
			back = nil
			return true, "", nil
		}
		pods, err := kube.List[corev1.Pod](ctx, c.client, kube.Pods, c.namespace,
			metav1.ListOptions{LabelSelector: clusterLabel + "=" + c.name + majorJobs})
		if err != nil {
			return wait(err)
		}
		for _, pod := range pods {
			// The operator has yet to act on one that has succeeded.
			if pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodSucceeded {
				return false, "pod " + pod.Name + " is " + strings.ToLower(string(pod.Status.Phase)), nil
			}
		}
		return true, "", nil
	})
	switch {
	case hook.CodeOf(err) == hook.Deadline && ctx.Err() == nil:
		return false, nil
	case err != nil || back == nil:
		return err == nil, err
	}
	_, image := dataOf(back.Object)
	c.log.Info("the Cluster gets the image back that its data was written by", "cluster", c.name, "image", image)
	if err := unstructured.SetNestedField(back.Object, image, "spec", "imageName"); err != nil {
		return false, err
	}
	setting, done := context.WithTimeout(ctx, setBackTime)
	defer done()
	if err := c.put(setting, back); err != nil {
		return false, fmt.Errorf("give Cluster %s its image %s back: %w", c.name, image, err)
	}
	return true, nil
}

// raising says whether a Cluster has an image of a newer major version than that of its data.
func raising(live *unstructured.Unstructured) bool {
	if live == nil {
		return false
	}
	image, _, _ := unstructured.NestedString(live.Object, "spec", "imageName")
	data, written := dataOf(live.Object)
	return written != "" && data > 0 && Major(image) > data
}

// ServicesStopped says whether a Cluster keeps a note of services that were stopped for an upgrade of its data.
func ServicesStopped(live *unstructured.Unstructured) bool {
	return live.GetAnnotations()[stoppedAnnotation] != ""
}

// analyze renews the statistics that a planner of another major version needs.
func analyze(ctx context.Context, url string) error {
	conn, err := migrate.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer migrate.Close(ctx, conn)
	_, err = conn.Exec(ctx, "ANALYZE")
	return err
}
