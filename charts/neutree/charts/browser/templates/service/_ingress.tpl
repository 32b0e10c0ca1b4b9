{{- define "browser.ingress" -}}
- ports:
    - port: http
  {{- with .Values.global.networkPolicies.usersFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "common.peers" (list $ "cp") | nindent 4 }}
  {{- end }}
{{- end }}
