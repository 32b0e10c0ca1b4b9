{{- define "workspaceRuntime.afsController.ingress" -}}
- from:
    {{- include "common.peers" (list $ "cp") | nindent 4 }}
    {{- include "common.workspacePeer" . | nindent 4 }}
  ports:
    - port: grpc
{{- end }}
