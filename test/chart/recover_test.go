package chart_test

import (
	"slices"
	"testing"

	"helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/recover"
)

// `helm neutree recover` leaves a release alone while any of its hooks runs: each Job that is a hook, and each that a hook
// starts.
func TestRecoverKnowsEveryHookJob(t *testing.T) {
	targets := profiles(t)
	targets["every module"] = target{set: everyModule}
	for name, to := range targets {
		t.Run(name, func(t *testing.T) {
			jobs := hookJobs(t, renderFor(t, to).Objects)
			if len(jobs) == 0 {
				t.Fatal("no hook makes a Job")
			}
			for _, job := range jobs {
				job.Namespace = namespace
				job.Status = batchv1.JobStatus{Active: 1}
				manifest, err := yaml.Marshal(job)
				if err != nil {
					t.Fatal(err)
				}
				server := kubetest.New(t, pending, string(manifest))
				found, err := recover.Find(t.Context(), server.Client(), namespace, releaseName)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(found.Running, job.Name) {
					t.Errorf("Job %s with labels %v runs, and recover does not see it", job.Name, job.Labels)
				}
			}
		})
	}
}

// pending is what Helm keeps about a revision that it has begun. Its content is not read until the revision is changed.
const pending = `apiVersion: v1
kind: Secret
metadata:
  name: sh.helm.release.v1.neutree.v1
  namespace: nap
  labels: {owner: helm, name: neutree, version: "1", status: pending-install}`

// hookJobs are the Jobs for which a Helm client waits, or which are started while it does. `helm test` leaves no
// revision pending.
func hookJobs(t *testing.T, objects []chart.Object) []*batchv1.Job {
	t.Helper()
	var jobs []*batchv1.Job
	for _, object := range objects {
		if object.Hook == nil || object.Hook.On(release.HookTest) {
			continue
		}
		switch made := typed(t, object).(type) {
		case *batchv1.Job:
			jobs = append(jobs, made)
		case *corev1.ConfigMap:
			for _, one := range spawned(t, object, made) {
				jobs = append(jobs, typed(t, one).(*batchv1.Job))
			}
		}
	}
	return jobs
}
