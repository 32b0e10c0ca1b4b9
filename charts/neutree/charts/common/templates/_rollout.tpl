{{/*
Strategy of a service. One that may overlap with its successor for a moment surges: the new pod is ready before the old
one goes. With global.rollout.surge off the old pod goes first, by numbers instead of Recreate, so that the value can
change at any time. Usage: include "common.strategy" (list $ <facts of the service>)
*/}}
{{- define "common.strategy" -}}
{{- $surge := (index . 0).Values.global.rollout.surge -}}
{{- with index . 1 -}}
{{- if .surge -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ $surge | ternary 1 0 }}
  maxUnavailable: {{ $surge | ternary 0 1 }}
{{- else -}}
type: Recreate
{{- end }}
{{- end }}
{{- end }}

{{/*
What comes before a pod of a service ends, from its facts. One that surges answers until every node has stopped sending
to it; by an exec, since the sleep action does not exist in Kubernetes 1.28.
*/}}
{{- define "common.lifecycle" -}}
{{- if .surge -}}
preStop:
  exec:
    command: [sleep, "5"]
{{- else if .stopCommand -}}
# {{ .stopCommand.why }}
preStop:
  exec:
    command: {{ toJson .stopCommand.command }}
{{- end }}
{{- end }}

{{/*
While its pods wait for the database a Deployment makes no progress. Kubernetes would call that a failure after ten
minutes, and Helm 4, Flux and ArgoCD believe it.
*/}}
{{- define "common.progressDeadline" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
progressDeadlineSeconds: {{ add $timeouts.start $timeouts.wait 600 }}
{{- end }}
