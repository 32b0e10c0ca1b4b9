{{/* Address on which AFS listens for others: of IPv4 alone, or of both families. */}}
{{- define "workspaceRuntime.anyAddress" -}}
{{ if .Values.listenOnIPv6 }}[::]{{ else }}0.0.0.0{{ end }}
{{- end }}

{{- define "workspaceRuntime.afsController.config" -}}
[server]
listen = "{{ include "workspaceRuntime.anyAddress" . }}:{{ include "common.servicePort" (list . "afs-controller") }}"

[storage]
db_path = "/var/lib/afs/controller.db"
{{- end }}
