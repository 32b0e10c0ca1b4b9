package jobrun

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Ended tells whether a Job has completed or failed.
func Ended(job *batchv1.Job) bool { return Failed(job) || condition(job, batchv1.JobComplete) != nil }

// Failed tells whether a Job has failed for good.
func Failed(job *batchv1.Job) bool { return Failure(job) != nil }

// Failure is the condition that says why a Job has failed for good, nil for one that has not.
func Failure(job *batchv1.Job) *batchv1.JobCondition { return condition(job, batchv1.JobFailed) }

func condition(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if c := &job.Status.Conditions[i]; c.Type == kind && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}
