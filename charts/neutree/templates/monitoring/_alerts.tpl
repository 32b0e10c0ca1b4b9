{{/* Not empty when there is something to alert about, and someone asked for alerts. */}}
{{- define "neutree.alerts" -}}
{{- $monitoring := .Values.global.monitoring -}}
{{- if and $monitoring.enabled $monitoring.alerts.enabled (include "neutree.backup.scheduled" .) }}yes{{ end }}
{{- end }}

{{/*
Alerts about scheduled backups, from the metrics of kube-state-metrics. A run that gave way to an upgrade or a restore
is tried again by its Job, and counts as failed only if that did not end until the Job's deadline.
*/}}
{{- define "neutree.alerts.backup" -}}
{{- $name := include "neutree.backup.cronJob" . -}}
{{- $cronJob := printf "namespace=%q, cronjob=%q" .Release.Namespace $name -}}
{{- $jobs := printf "namespace=%q, job_name=~%q" .Release.Namespace (print $name "-.*") -}}
{{- $hours := include "neutree.backup.overdueHours" . | trim -}}
{{- $docs := "https://github.com/neutree-ai/packaging/blob/main/docs/backup.md" -}}
- alert: NeutreeScheduledBackupOverdue
  # One that has never succeeded counts from when it was created, one that is suspended not at all.
  expr: |-
    time() - max by (namespace, cronjob) (
      kube_cronjob_status_last_successful_time{ {{- $cronJob -}} } or kube_cronjob_created{ {{- $cronJob -}} }
    ) > {{ mul (int $hours) 3600 }}
    and on (namespace, cronjob) max by (namespace, cronjob) (kube_cronjob_spec_suspend{ {{- $cronJob -}} }) == 0
  for: 10m
  labels:
    severity: critical
  annotations:
    summary: No scheduled backup of release {{ .Release.Name }} has succeeded for {{ $hours }} hours.
    description: >-
      CronJob {{ $name }} in namespace {{ .Release.Namespace }} last made a backup more than {{ $hours }} hours ago. Its
      Jobs say why, or the CronJob starts none.
    runbook_url: {{ $docs }}#NeutreeScheduledBackupOverdue
- alert: NeutreeScheduledBackupFailed
  # The newest Job that failed began after the last success.
  expr: |-
    max by (namespace) (
      kube_job_status_start_time{ {{- $jobs -}} }
      and on (namespace, job_name) kube_job_failed{ {{- $jobs -}} , condition="true"} == 1
    ) > max by (namespace) (
      kube_cronjob_status_last_successful_time{ {{- $cronJob -}} } or kube_cronjob_created{ {{- $cronJob -}} }
    )
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: The last scheduled backup of release {{ .Release.Name }} failed.
    description: >-
      The newest Job of CronJob {{ $name }} in namespace {{ .Release.Namespace }} failed, and no backup on schedule was
      made since.
    runbook_url: {{ $docs }}#NeutreeScheduledBackupFailed
{{- end }}
