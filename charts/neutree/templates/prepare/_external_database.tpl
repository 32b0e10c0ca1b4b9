{{/* The Secret with which the user names the role in a database from outside, or that database's whole address. */}}
{{- define "neutree.secrets.externalDatabase" -}}
{{- $external := .Values.global.database.external -}}
- name: {{ $external.existingSecret | quote }}
  existing: true
  value: global.database.external.existingSecret
  data:
    {{- if $external.urlKey }}
    {{ $external.urlKey | quote }}: {required: true, minLength: 1, lines: true}
    {{- else }}
    {{ $external.userKey | quote }}: {required: true, minLength: 1, public: true}
    {{ $external.passwordKey | quote }}: {required: true, minLength: 1}
    {{- end }}
    {{- if eq $external.caSecret $external.existingSecret }}
    {{ $external.caSecretKey | quote }}: {required: true, lines: true, public: true}
    {{- end }}
{{- end }}

{{/* How its address is made. */}}
{{- define "neutree.secrets.externalURL" -}}
{{- $database := .Values.global.database -}}
{{- $external := $database.external -}}
{{- if $external.urlKey -}}
urlFrom: {secret: {{ $external.existingSecret | quote }}, key: {{ $external.urlKey | quote }}}
{{- else -}}
host: {{ $external.host | quote }}
port: {{ $external.port }}
database: {{ $database.name | quote }}
userFrom: {secret: {{ $external.existingSecret | quote }}, key: {{ $external.userKey | quote }}}
passwordFrom: {secret: {{ $external.existingSecret | quote }}, key: {{ $external.passwordKey | quote }}}
{{- end }}
sslmode: {{ $external.sslmode }}
{{- with include "common.databaseRootCert" . }}
rootCert: {{ . }}
{{- end }}
{{- end }}

{{/* The Secrets with certificates of authorities, as a YAML list: several values may well name the same one. */}}
{{- define "neutree.secrets.authorities" -}}
{{- $external := .Values.global.database.external -}}
{{- $secrets := dict -}}
{{- with .Values.global.trustedCAs }}
{{- if .existingSecret }}
{{- $_ := set $secrets .existingSecret (dict "name" .existingSecret "existing" true "value" "global.trustedCAs.existingSecret" "data" (dict .existingSecretKey (dict "required" true "lines" true "public" true))) }}
{{- end }}
{{- end }}
{{- if and (include "common.databaseRootCert" .) (ne $external.caSecret $external.existingSecret) }}
{{- $secret := get $secrets $external.caSecret | default (dict "name" $external.caSecret "existing" true "value" "global.database.external.caSecret" "data" dict) }}
{{- $_ := set $secret.data $external.caSecretKey (dict "required" true "lines" true "public" true) }}
{{- $_ := set $secrets $external.caSecret $secret }}
{{- end }}
{{- with .Values.global.backup.s3 }}
{{- if and .bucket $.Values.global.backup.enabled .caSecret (ne .caSecret .existingSecret) }}
{{- $secret := get $secrets .caSecret | default (dict "name" .caSecret "existing" true "value" "global.backup.s3.caSecret" "data" dict) }}
{{- $_ := set $secret.data .caSecretKey (dict "required" true "lines" true "public" true) }}
{{- $_ := set $secrets .caSecret $secret }}
{{- end }}
{{- end }}
{{- $list := list -}}
{{- range $secrets }}
{{- $list = append $list . }}
{{- end }}
{{- $list | toYaml }}
{{- end }}
