{{/* What helm test proves: every service of the modules that are on. */}}
{{- define "neutree.test.spec" -}}
set: {{ include "common.migrationSet" . }}
logIn: {{ include "common.serviceURL" (list . "cp" 3000) }}/api/auth/login
services:
  - name: control plane
    url: {{ include "common.serviceURL" (list . "cp" 3000) }}/healthz
  - name: channel gateway
    url: {{ include "common.serviceURL" (list . "cg" 3002) }}/health
  - name: skills
    url: {{ include "common.serviceURL" (list . "skills" 3008) }}/health
  - name: office converter
    url: {{ include "common.serviceURL" (list . "office-converter" 3007) }}/health
  - name: AFS controller
    address: afs-controller.{{ .Release.Namespace }}.svc:9100
  {{- if .Values.global.modules.sandbox.enabled }}
  - name: sandboxes
    url: {{ include "common.serviceURL" (list . "sandbox" 3006) }}/health
  {{- end }}
  {{- if .Values.global.modules.browser.enabled }}
  - name: browsers
    url: {{ include "common.serviceURL" (list . "browser" 3005) }}/health
  {{- if .Values.browser.coturn.enabled }}
  - name: relay
    address: coturn.{{ .Release.Namespace }}.svc:3478
  {{- end }}
  {{- end }}
{{- end }}

{{- define "neutree.test.env" -}}
{{ include "common.databaseEnv" . }}
{{ include "common.secretEnv" (list "ADMIN_USERNAME" (include "common.adminSecret" .) "username") }}
{{ include "common.secretEnv" (list "ADMIN_PASSWORD" (include "common.adminSecret" .) "password") }}
{{- end }}
