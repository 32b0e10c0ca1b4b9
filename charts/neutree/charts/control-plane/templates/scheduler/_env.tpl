{{- define "controlPlane.scheduler.env" -}}
{{ include "common.secretEnv" (list "PLATFORM_SERVICE_KEY" (include "common.keysSecret" .) "PLATFORM_SERVICE_KEY") }}
- name: NAP_API_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
- name: CG_API_URL
  value: {{ include "common.serviceURL" (list . "cg") }}
{{- end }}
