{{- define "browser.env" -}}
{{ include "common.secretEnv" (list "JWT_SECRET" (include "common.browserSecret" .) "JWT_SECRET") }}
{{ include "common.secretEnv" (list "TURN_AUTH_SECRET" (include "common.browserSecret" .) "TURN_AUTH_SECRET") }}
# A browser is a sandbox, made with this key.
{{ include "common.secretEnv" (list "SANDBOX_SERVICE_KEY" (include "common.sandboxSecret" .) "SERVICE_KEY") }}
- name: SANDBOX_SERVICE_URL
  value: {{ include "common.serviceURL" (list . "sandbox") }}
- name: NAP_INTERNAL_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
# Users are sent there to log in, and this service asks there who they are.
- name: NAP_OAUTH_URL
  value: {{ include "common.webURL" . | quote }}
- name: BROWSER_SERVICE_URL
  value: {{ include "common.browserURL" . | quote }}
- name: BROWSER_IMAGE
  value: {{ include "common.image" (list . "chromium") }}
- name: TURN_HOST
  value: {{ .Values.turn.host | quote }}
- name: TURN_PORT
  value: {{ include "common.servicePort" (list . "coturn") | quote }}
- name: BROWSER_WARM_POOL_SIZE
  value: {{ .Values.service.warmPool | quote }}
{{- end }}
