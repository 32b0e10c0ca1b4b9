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
job:
  {{- include "neutree.rotate.job" . | nindent 2 }}
keyring: {{ include "neutree.rotate.keyring" . }}
{{- end }}

{{/* What each rotation replaces, by its name: keys of one Secret. */}}
{{- define "neutree.secrets.rotations" -}}
{{- $modules := .Values.global.modules -}}
{{- $keys := include "common.keysSecret" . -}}
jwt: {secret: {{ $keys | quote }}, keys: [JWT_SECRET]}
service-key: {secret: {{ $keys | quote }}, keys: [PLATFORM_SERVICE_KEY]}
credential-key: {secret: {{ $keys | quote }}, keys: [CREDENTIAL_ENCRYPTION_KEY]}
{{- if include "common.externalDatabase" . }}
{{- $external := .Values.global.database.external }}
database: {secret: {{ $external.existingSecret | quote }}, keys: [{{ $external.urlKey | default $external.passwordKey | quote }}]}
{{- else }}
database: {secret: {{ include "common.name" (list . "pg-user") }}, keys: [password]}
{{- end }}
admin: {secret: {{ include "common.adminSecret" . | quote }}, keys: [password]}
{{- if $modules.sandbox.enabled }}
sandbox: {secret: {{ include "common.sandboxSecret" . | quote }}, keys: [JWT_SECRET, SERVICE_KEY]}
{{- end }}
{{- if $modules.browser.enabled }}
{{- $browser := include "common.browserSecret" . }}
browser: {secret: {{ $browser | quote }}, keys: [JWT_SECRET]}
turn: {secret: {{ $browser | quote }}, keys: [TURN_AUTH_SECRET]}
{{- end }}
{{- end }}

{{/* Secret that has the old and the new encryption key until a rotation has ended. */}}
{{- define "neutree.rotate.keyring" -}}
{{ include "common.name" (list . "credential-key-rotation") }}
{{- end }}

{{/* What the Job finds at /spec/rotate.yaml. */}}
{{- define "neutree.rotate.spec" -}}
encryptionKey: {secret: {{ include "common.keysSecret" . | quote }}, key: CREDENTIAL_ENCRYPTION_KEY}
admin: {{ include "common.adminSecret" . | quote }}
{{- end }}

{{/*
The Job that changes the database for `helm neutree secrets rotate`. It asks nothing of Kubernetes: its ServiceAccount has
no rights, its pod no token.
*/}}
{{- define "neutree.rotate.job" -}}
{{- $global := .Values.global -}}
{{- $name := include "common.name" (list . "rotate") -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "common.createdLabels" (list . "rotate") | nindent 4 }}
    app.kubernetes.io/instance: {{ .Release.Name }}
spec:
  # One that failed stays for its log, for a day.
  ttlSecondsAfterFinished: 86400
  {{- include "common.jobSpec" (dict "root" . "name" $name "component" "rotate"
    "configMap" (include "common.name" (list . "secrets")) "serviceAccount" $name
    "command" "rotate" "timeout" $global.hooks.timeouts.backup
    "startSeconds" (add $global.hooks.timeouts.start 600)
    "env" (include "common.databaseEnv" .)
    "resources" $global.backup.resources) | nindent 2 }}
{{- end }}
