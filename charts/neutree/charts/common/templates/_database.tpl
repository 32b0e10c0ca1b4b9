{{/* Secret with the connection URL, made by the hooks. */}}
{{- define "common.databaseSecret" -}}
{{ include "common.name" (list . "database") }}
{{- end }}

{{/*
Key in it. Pods of version 0.1.0 read the key url: they run on during an upgrade and come back by a rollback, and have
nothing to verify a server by.
*/}}
{{- define "common.databaseKey" -}}
{{- if and (not (include "common.externalDatabase" .)) (ne .Values.global.database.cnpg.sslmode "disable") -}}
tls-url
{{- else -}}
url
{{- end }}
{{- end }}

{{- define "common.databaseEnv" -}}
{{ include "common.secretEnv" (list "DATABASE_URL" (include "common.databaseSecret" .) (include "common.databaseKey" .)) }}
{{- end }}

{{/* Not empty when the database is one from outside. */}}
{{- define "common.externalDatabase" -}}
{{- if eq .Values.global.database.mode "external" }}yes{{ end }}
{{- end }}

{{/*
Secret with the authority that signs the certificates of the Cluster. The hooks create it before any pod needs it. The
operator uses and renews it, and would create one by itself where there is none.
*/}}
{{- define "common.clusterAuthority" -}}
{{ include "common.name" (list . "pg-ca") }}
{{- end }}

{{/* File with the authorities that sign the database's certificate, for everything that connects. Empty: public ones. */}}
{{- define "common.databaseRootCert" -}}
{{- $external := include "common.externalDatabase" . -}}
{{- if or (and $external .Values.global.database.external.caSecret) (eq (include "common.databaseKey" .) "tls-url") -}}
/etc/neutree/database-ca/ca.crt
{{- end }}
{{- end }}

{{- define "common.databaseMount" -}}
{{- with include "common.databaseRootCert" . -}}
- name: database-ca
  mountPath: {{ dir . }}
  readOnly: true
{{- end }}
{{- end }}

{{/*
The certificate alone: the operator's Secret holds the authority's key too. It is mounted as a directory, so that pods see
a renewed one. Usage: include "common.databaseVolume" (list $ <"service" or "hook">)
*/}}
{{- define "common.databaseVolume" -}}
{{- $root := index . 0 -}}
{{- if include "common.databaseRootCert" $root -}}
{{- $external := include "common.externalDatabase" $root | not | not -}}
{{- $given := $root.Values.global.database.external -}}
- name: database-ca
  secret:
    {{- if or $external (eq (index . 1) "hook") }}
    # A hook that starts before it is there says so by its name, which Kubernetes would not.
    optional: true
    {{- end }}
    secretName: {{ $external | ternary $given.caSecret (include "common.clusterAuthority" $root) | quote }}
    items:
      - {key: {{ $external | ternary $given.caSecretKey "ca.crt" | quote }}, path: ca.crt}
{{- end }}
{{- end }}

{{/*
The most connections that are open at once: the sum of the services' pools, those of services that surge counted twice,
and what else connects.
*/}}
{{- define "common.connections" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $total := $facts.reservedConnections -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $service := get $facts.services . }}
{{- $pods := and $service.surge $.Values.global.rollout.surge | empty | ternary 1 2 }}
{{- $total = add $total (mul $pods ($service.connections | default 0)) }}
{{- end }}
{{- $total }}
{{- end }}

{{/*
Where migrations come from: the image that carries them, the folder in it, and a name for what the two hold, which
services of that source wait for. In the order in which they are applied.
*/}}
{{- define "common.migrationSources" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $on := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $on = append $on (get $facts.services .).migrations }}
{{- end }}
{{- range $facts.migrationSources }}
{{- if has .name $on }}
{{- $image := include "common.image" (list $ .image) }}
- source: {{ .name }}
  image: {{ $image }}
  folder: {{ .folder }}
  set: {{ printf "%s %s" .name $image | sha256sum }}
{{- end }}
{{- end }}
{{- end }}

{{/* Services that use the database, by names without the prefix, as a YAML list. */}}
{{- define "common.databaseServices" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $names := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- if (get $facts.services .).connections }}
{{- $names = append $names . }}
{{- end }}
{{- end }}
{{- $names | toYaml }}
{{- end }}

{{/* The same with the Jobs that use it. */}}
{{- define "common.databaseClients" -}}
{{- $names := include "common.databaseServices" . | fromYamlArray -}}
{{- range (include "common.facts" . | fromJson).hookJobs }}
{{- if .database }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- $names | toYaml }}
{{- end }}

{{/* Label of all pods that mount the AFS controller's volume. */}}
{{- define "common.afsVolumeLabel" -}}
neutree.ai/volume: afs-controller-db
{{- end }}

{{/* Name of all migrations of a release together: a hash of the images they come from. */}}
{{- define "common.migrationSet" -}}
{{- $images := list }}
{{- range include "common.migrationSources" . | fromYamlArray }}
{{- $images = append $images .image }}
{{- end }}
{{- $images | sortAlpha | join "\n" | sha256sum }}
{{- end }}
