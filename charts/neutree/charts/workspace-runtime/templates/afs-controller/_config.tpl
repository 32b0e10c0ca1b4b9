{{- define "workspaceRuntime.afsController.config" -}}
[server]
listen = "0.0.0.0:{{ include "common.servicePort" (list . "afs-controller") }}"

[storage]
db_path = "/var/lib/afs/controller.db"
{{- end }}
