{{/*
Security context of a pod that runs as one user without privileges; together with that of its containers it
passes Pod Security "restricted". Usage: include "common.podSecurityContext" 1000
*/}}
{{- define "common.podSecurityContext" -}}
runAsNonRoot: {{ ne (int .) 0 }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
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
