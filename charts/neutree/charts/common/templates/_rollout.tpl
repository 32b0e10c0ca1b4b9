{{/*
Strategy of a service that may overlap with its successor for a moment: the new pod is ready before the old one goes.
With global.rollout.surge off the old pod goes first, by numbers instead of Recreate, so that the value can change at any time.
*/}}
{{- define "common.surge" -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ .Values.global.rollout.surge | ternary 1 0 }}
  maxUnavailable: {{ .Values.global.rollout.surge | ternary 0 1 }}
{{- end }}

{{/*
The old pod answers until every node has stopped sending to it.
An exec, since the sleep action of its own does not exist in Kubernetes 1.28.
*/}}
{{- define "common.drain" -}}
preStop:
  exec:
    command: [sleep, "5"]
{{- end }}

{{/*
While its pods wait for the database a Deployment makes no progress. Kubernetes would call that a failure after ten
minutes, and Helm 4, Flux and ArgoCD believe it.
*/}}
{{- define "common.progressDeadline" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
progressDeadlineSeconds: {{ add $timeouts.start $timeouts.wait 600 }}
{{- end }}
