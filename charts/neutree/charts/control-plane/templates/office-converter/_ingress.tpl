{{- define "controlPlane.officeConverter.ingress" -}}
- from:
    {{- include "common.peers" (list $ "cp") | nindent 4 }}
  ports:
    - port: http
{{- end }}
