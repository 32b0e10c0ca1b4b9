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

{{- define "common.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
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
