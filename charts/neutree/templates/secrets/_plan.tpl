{{/*
What `helm neutree secrets` reads: which Secrets there are, which services read them, and what can be rotated. The value
of no Secret is part of it.
*/}}
{{- define "neutree.secrets.plan" -}}
release: {{ .Release.Name }}
chart: {{ .Chart.Name }} {{ .Chart.Version }}
{{ include "neutree.secrets.andReaders" . }}
# This Secret remembers by which values the services have started.
record: {{ include "common.databaseSecret" . }}
restoreNote: {{ include "neutree.restoreNote" . }}
rotations:
  {{- include "neutree.secrets.rotations" . | nindent 2 }}
{{- end }}

{{/* What each rotation replaces, by its name: keys of one Secret. */}}
{{- define "neutree.secrets.rotations" -}}
{{- $modules := .Values.global.modules -}}
{{- $keys := include "common.keysSecret" . -}}
jwt: {secret: {{ $keys | quote }}, keys: [JWT_SECRET]}
service-key: {secret: {{ $keys | quote }}, keys: [PLATFORM_SERVICE_KEY]}
{{- if $modules.sandbox.enabled }}
sandbox: {secret: {{ include "common.sandboxSecret" . | quote }}, keys: [JWT_SECRET, SERVICE_KEY]}
{{- end }}
{{- if $modules.browser.enabled }}
{{- $browser := include "common.browserSecret" . }}
browser: {secret: {{ $browser | quote }}, keys: [JWT_SECRET]}
turn: {secret: {{ $browser | quote }}, keys: [TURN_AUTH_SECRET]}
{{- end }}
{{- end }}
