{{- define "sandbox.env" -}}
{{ include "common.secretEnv" (list "JWT_SECRET" (include "common.sandboxSecret" .) "JWT_SECRET") }}
{{ include "common.secretEnv" (list "SERVICE_KEY" (include "common.sandboxSecret" .) "SERVICE_KEY") }}
- name: NAP_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
# Users are sent there to log in, and this service asks there who they are.
- name: NAP_OAUTH_URL
  value: {{ include "common.webURL" . | quote }}
- name: SANDBOX_SERVICE_URL
  value: {{ include "common.sandboxURL" . | quote }}
- name: SANDBOX_DOMAIN
  value: {{ include "common.hostOf" (include "common.sandboxURL" .) | quote }}
- name: OPENSANDBOX_URL
  value: {{ .Values.openSandbox.url | quote }}
{{- end }}
