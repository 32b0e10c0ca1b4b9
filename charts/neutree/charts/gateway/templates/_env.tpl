{{- define "gateway.env" -}}
{{ include "common.secretEnv" (list "JWT_SECRET" (include "common.keysSecret" .) "JWT_SECRET") }}
- name: NAP_API_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
{{- end }}
