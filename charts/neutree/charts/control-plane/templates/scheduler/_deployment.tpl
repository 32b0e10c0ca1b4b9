{{/* Deployment of the scheduler. */}}
{{- define "controlPlane.scheduler.deployment" -}}
{{- /*
Started before its tables exist the scheduler would live on without any worker, and no probe can tell: it listens on no
port and writes no sign of life. So it does not start before then.
*/ -}}
{{- include "common.deployment" (dict "root" . "service" "scheduler" "values" .Values.scheduler
  "env" (include "controlPlane.scheduler.env" .)) }}
{{- end }}
