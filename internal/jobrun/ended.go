package jobrun

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Ended tells whether a Job has completed or failed.
func Ended(job *batchv1.Job) bool { return Failed(job) || condition(job, batchv1.JobComplete) != nil }

// Failed tells whether a Job has failed for good.
func Failed(job *batchv1.Job) bool { return condition(job, batchv1.JobFailed) != nil }

func condition(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if c := &job.Status.Conditions[i]; c.Type == kind && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}
