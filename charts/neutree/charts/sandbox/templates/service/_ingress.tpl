{{- define "sandbox.ingress" -}}
- ports:
    - port: http
  {{- with .Values.global.networkPolicies.usersFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "common.peers" (list $ "cp" "browser") | nindent 4 }}
  {{- end }}
{{- end }}
