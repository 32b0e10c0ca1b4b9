{{- define "controlPlane.skills.ingress" -}}
- from:
    {{- include "common.peers" (list $ "cp") | nindent 4 }}
  ports:
    - port: http
{{- end }}
