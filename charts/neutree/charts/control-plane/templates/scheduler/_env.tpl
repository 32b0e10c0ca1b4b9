{{- define "controlPlane.scheduler.env" -}}
{{ include "common.databaseEnv" . }}
{{ include "common.trustEnv" . }}
{{ include "common.secretEnv" (list "PLATFORM_SERVICE_KEY" (include "common.keysSecret" .) "PLATFORM_SERVICE_KEY") }}
- name: NAP_API_URL
  value: {{ include "common.serviceURL" (list . "cp" 3000) }}
- name: CG_API_URL
  value: {{ include "common.serviceURL" (list . "cg" 3002) }}
{{- end }}
