{{/* Names of all Secrets in the spec below, as a YAML list. */}}
{{- define "neutree.secrets.names" -}}
{{- $names := list }}
{{- range (include "neutree.secrets.spec" . | fromYaml).secrets }}
{{- $names = append $names .name }}
{{- end }}
{{- $names | toYaml }}
{{- end }}

{{/* The same without those that the user gave, which are never written. */}}
{{- define "neutree.secrets.madeNames" -}}
{{- $names := list }}
{{- range (include "neutree.secrets.spec" . | fromYaml).secrets }}
{{- if not .existing }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- $names | toYaml }}
{{- end }}

{{/* Labels of a Secret that nap-hooks makes; who manages it nap-hooks says itself. */}}
{{- define "neutree.secrets.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: neutree
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Random keys of a module, or those of the Secret that the user gave instead.
Usage: include "neutree.secrets.keys" (list $ <module> <key>...)
*/}}
{{- define "neutree.secrets.keys" -}}
{{- $root := index . 0 -}}
{{- $module := index . 1 -}}
{{- $given := (get $root.Values.global.secrets $module).existingSecret -}}
{{- if $given -}}
existing: true
value: global.secrets.{{ $module }}.existingSecret
{{- else -}}
labels:
  {{- include "neutree.secrets.labels" $root | nindent 2 }}
{{- end }}
data:
  {{- range slice . 2 }}
  {{ . }}: {{ $given | empty | ternary "{generate: {bytes: 32}}" "{required: true, minLength: 32}" }}
  {{- end }}
{{- end }}

{{/* The Secrets of a release: made once, with random content where only machines read it, never changed. */}}
{{- define "neutree.secrets.spec" -}}
{{- $global := .Values.global -}}
{{- $user := include "common.name" (list . "pg-user") -}}
namespace: {{ .Release.Namespace }}
secrets:
  {{- if include "common.externalDatabase" . }}
  {{- include "neutree.secrets.externalDatabase" . | nindent 2 }}
  {{- else }}
  - name: {{ $user }}
    type: kubernetes.io/basic-auth
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
      # The operator follows a change of the password.
      cnpg.io/reload: "true"
    data:
      username: {value: {{ $global.database.user | quote }}}
      password: {generate: {bytes: 32}}
  {{- if include "common.databaseRootCert" . }}
  - name: {{ include "common.clusterAuthority" . }}
    authority: {{ include "common.name" (list . "pg") }}
  {{- end }}
  {{- end }}
  - name: {{ include "common.keysSecret" . | quote }}
    {{- if $global.secrets.existingSecret }}
    existing: true
    value: global.secrets.existingSecret
    data:
      JWT_SECRET: {required: true, minLength: 32}
      CREDENTIAL_ENCRYPTION_KEY: {required: true, minLength: 32}
      PLATFORM_SERVICE_KEY: {required: true, minLength: 32}
    {{- else }}
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
    data:
      JWT_SECRET: {generate: {bytes: 32}}
      CREDENTIAL_ENCRYPTION_KEY: {generate: {bytes: 32}}
      PLATFORM_SERVICE_KEY: {generate: {bytes: 32}}
    {{- end }}
  - name: {{ include "common.adminSecret" . | quote }}
    {{- if $global.admin.existingSecret }}
    existing: true
    value: global.admin.existingSecret
    data:
      username: {required: true, public: true}
      password: {required: true, minLength: 6, newMinLength: 12}
    {{- else }}
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
    data:
      username: {value: {{ $global.admin.username | quote }}}
      password: {generate: {bytes: 12}}
    {{- end }}
  {{- if $global.upgrade.rebuildWorkspaces }}
  - name: {{ include "common.pluginAdminSecret" . }}
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
    data:
      token: {generate: {bytes: 32}}
  {{- end }}
  {{- if $global.modules.sandbox.enabled }}
  - name: {{ include "common.sandboxSecret" . | quote }}
    {{- include "neutree.secrets.keys" (list . "sandbox" "JWT_SECRET" "SERVICE_KEY") | nindent 4 }}
  {{- end }}
  {{- if $global.modules.browser.enabled }}
  - name: {{ include "common.browserSecret" . | quote }}
    {{- include "neutree.secrets.keys" (list . "browser" "JWT_SECRET" "TURN_AUTH_SECRET") | nindent 4 }}
  {{- if .Values.browser.coturn.enabled }}
  - name: {{ include "browser.coturn.secret" . }}
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
    data:
      turnserver.conf:
        file:
          values:
            TURN_AUTH_SECRET: {secret: {{ include "common.browserSecret" . | quote }}, key: TURN_AUTH_SECRET}
          text: |
            {{- include "browser.coturn.config" (list . .Values.browser) | nindent 12 }}
  {{- end }}
  {{- end }}
  {{- if $global.modules.ldap.enabled }}
  - name: {{ $global.ldap.existingSecret | quote }}
    existing: true
    value: global.ldap.existingSecret
    data:
      {{ $global.ldap.existingSecretKey | quote }}: {required: true}
  {{- end }}
  {{- if and (include "neutree.copies.on" .) .Values.global.backup.s3.existingSecret }}
  {{- include "neutree.copies.credentials" . | nindent 2 }}
  {{- end }}
  {{- range include "neutree.secrets.authorities" . | fromYamlArray }}
  - {{ toYaml . | nindent 4 | trim }}
  {{- end }}
  - name: {{ include "common.databaseSecret" . }}
    labels:
      {{- include "neutree.secrets.labels" . | nindent 6 }}
    data:
      url:
        postgresURL:
          {{- if include "common.externalDatabase" . }}
          {{- include "neutree.secrets.externalURL" . | nindent 10 }}
          {{- else }}
          {{- include "neutree.secrets.clusterURL" . | nindent 10 }}
      {{- with include "common.databaseRootCert" . }}
      tls-url:
        postgresURL:
          {{- include "neutree.secrets.clusterURL" $ | nindent 10 }}
          sslmode: verify-full
          rootCert: {{ . }}
      {{- end }}
          {{- end }}
{{- end }}

{{/*
The Secrets, and the Deployments that are restarted when one of theirs has changed: for prepare, and for
`helm neutree secrets`.
*/}}
{{- define "neutree.secrets.andReaders" -}}
secrets:
  {{- include "neutree.secrets.spec" . | nindent 2 }}
restart: {{ include "neutree.secrets.readers" . | fromYamlArray | toJson }}
{{- end }}

{{/* Deployments that are restarted when a Secret of theirs has changed, as a YAML list. */}}
{{- define "neutree.secrets.readers" -}}
{{- $names := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $names = append $names (include "common.serviceName" (list $ .)) }}
{{- end }}
{{- if and .Values.global.modules.browser.enabled .Values.browser.coturn.enabled }}
{{- $names = append $names (include "common.serviceName" (list . "coturn")) }}
{{- end }}
{{- $names | uniq | toYaml }}
{{- end }}

{{/* How the address of the Cluster is made. */}}
{{- define "neutree.secrets.clusterURL" -}}
{{- $user := include "common.name" (list . "pg-user") -}}
host: {{ include "common.name" (list . "pg-rw") }}
port: {{ (include "common.facts" . | fromJson).database.port }}
database: {{ .Values.global.database.name | quote }}
userFrom: {secret: {{ $user }}, key: username}
passwordFrom: {secret: {{ $user }}, key: password}
{{- end }}
