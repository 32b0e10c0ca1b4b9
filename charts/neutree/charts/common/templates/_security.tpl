{{/*
Security context of a pod that runs as one user without privileges; together with that of its containers it
passes Pod Security "restricted". OpenShift chooses the user itself, one for each namespace, but for root.
Usage: include "common.podSecurityContext" (list $ 1000)
*/}}
{{- define "common.podSecurityContext" -}}
{{- $user := index . 1 | int -}}
runAsNonRoot: {{ ne $user 0 }}
{{- if or (eq $user 0) (not (index . 0).Values.global.openshift.enabled) }}
runAsUser: {{ $user }}
runAsGroup: {{ $user }}
fsGroup: {{ $user }}
{{- end }}
# Large volumes are not walked through at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Security context of a container. Facts of a service may ask for less of it, each with its reason. */}}
{{- define "common.containerSecurityContext" -}}
allowPrivilegeEscalation: false
{{- if .writableRoot }}
# No read-only root: {{ .writableRoot }}
{{- else }}
readOnlyRootFilesystem: true
{{- end }}
capabilities:
  drop: [ALL]
  {{- with .capability }}
  # {{ .why }}
  add: [{{ .name }}]
  {{- end }}
{{- end }}

{{/* With a read-only root every service still wants a /tmp. */}}
{{- define "common.tmpMount" -}}
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "common.tmpVolume" -}}
- name: tmp
  emptyDir: {}
{{- end }}
