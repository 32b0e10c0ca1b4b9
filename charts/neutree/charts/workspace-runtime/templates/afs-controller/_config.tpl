{{- define "workspaceRuntime.afsController.config" -}}
[server]
listen = "0.0.0.0:9100"

[storage]
db_path = "/var/lib/afs/controller.db"
{{- end }}
