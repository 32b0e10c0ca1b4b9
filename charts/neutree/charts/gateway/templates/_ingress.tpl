{{- define "gateway.ingress" -}}
- from:
    {{- include "common.peers" (list $ "cp" "scheduler") | nindent 4 }}
  ports:
    - port: http
{{- end }}
