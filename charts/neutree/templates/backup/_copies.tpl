{{/*
Copies of backups outside the cluster, in a bucket or on another volume: what the Jobs that make backups get for that. Their
pods have no more rights than without it: the Secrets that they save are mounted.
*/}}

{{/* Not empty when backups are copied. */}}
{{- define "neutree.copies.on" -}}
{{- $backup := .Values.global.backup -}}
{{- if and $backup.enabled (or $backup.s3.bucket $backup.offsite.existingClaim) }}yes{{ end }}
{{- end }}

{{/* Secret with the release's values, which are saved with a backup. */}}
{{- define "neutree.copies.valuesSecret" -}}
{{ include "common.name" (list . "backup-values") }}
{{- end }}

{{/* All values, as YAML: those of subcharts without the global ones, of which Helm gives each a copy. */}}
{{- define "neutree.copies.values" -}}
{{- $values := dict -}}
{{- range $name, $value := .Values }}
{{- if and (ne $name "global") (kindIs "map" $value) (hasKey $value "global") }}
{{- $value = omit $value "global" }}
{{- end }}
{{- $_ := set $values $name $value }}
{{- end }}
{{- $values | toYaml }}
{{- end }}

{{/*
Secrets that are saved, as a YAML list: of each the keys that can't be made out of others. CloudNativePG makes its
authority again. The credentials and the CA of the bucket are not saved: they belong to where the copies are, and another
cluster may have others.
*/}}
{{- define "neutree.copies.secrets" -}}
{{- $list := list -}}
{{- range (include "neutree.secrets.spec" . | fromYaml).secrets }}
{{- $keys := list }}
{{- range $key, $made := .data | default dict }}
{{- if not (or (hasKey $made "postgresURL") (hasKey $made "file")) }}
{{- $keys = append $keys $key }}
{{- end }}
{{- end }}
{{- $ofCopies := has (.value | default "") (list "global.backup.s3.existingSecret" "global.backup.s3.caSecret") }}
{{- if and $keys (not .authority) (not $ofCopies) }}
{{- $list = append $list (merge (pick . "name" "type" "labels" "existing" "value") (dict "keys" (sortAlpha $keys))) }}
{{- end }}
{{- end }}
{{- $list | toYaml }}
{{- end }}

{{/* What is said of the copies at /spec/backup.yaml. */}}
{{- define "neutree.copies.spec" -}}
{{- if include "neutree.copies.on" . -}}
{{- $s3 := .Values.global.backup.s3 -}}
{{- $offsite := .Values.global.backup.offsite -}}
copies:
  {{- if $s3.bucket }}
  s3:
    endpoint: {{ $s3.endpoint | quote }}
    {{- if $s3.plainHTTP }}
    plainHTTP: true
    {{- end }}
    region: {{ $s3.region | quote }}
    bucket: {{ $s3.bucket | quote }}
    prefix: {{ $s3.prefix | quote }}
    {{- if ne $s3.pathStyle "auto" }}
    pathStyle: {{ eq $s3.pathStyle "always" }}
    {{- end }}
    credentials: /s3
    secret: {{ $s3.existingSecret | quote }}
    {{- with include "neutree.copies.cas" . | fromYamlArray }}
    ca: {{ toJson . }}
    {{- end }}
  {{- else }}
  dir: /copies
  prefix: {{ $offsite.folder | quote }}
  {{- end }}
  recipients: {{ toJson $offsite.recipients }}
  {{- with $offsite.drillRecipients }}
  drillRecipients: {{ toJson . }}
  {{- end }}
  retention: {{ toJson $offsite.retention }}
  escrow:
    dir: /escrow/secrets
    values: /escrow/values.yaml
    secrets:
      {{- include "neutree.copies.secrets" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Files with CA certificates for the endpoint, as a YAML list. */}}
{{- define "neutree.copies.cas" -}}
{{- $files := list -}}
{{- if .Values.global.backup.s3.caSecret }}{{ $files = append $files "/s3-ca/ca.crt" }}{{ end -}}
{{- if include "common.trustMount" . }}{{ $files = append $files "/etc/neutree/trusted-cas/ca.crt" }}{{ end -}}
{{- $files | toYaml }}
{{- end }}

{{/* The endpoint may be outside the cluster. */}}
{{- define "neutree.copies.env" -}}
{{- if and (include "neutree.copies.on" .) .Values.global.backup.s3.bucket -}}
{{ include "common.proxyEnv" (list . (dict "proxy" "reads") dict) }}
{{- end }}
{{- end }}

{{- define "neutree.copies.mounts" -}}
{{- if include "neutree.copies.on" . -}}
- name: escrow
  mountPath: /escrow
  readOnly: true
{{- if .Values.global.backup.s3.bucket }}
- name: s3
  mountPath: /s3
  readOnly: true
{{- if .Values.global.backup.s3.caSecret }}
- name: s3-ca
  mountPath: /s3-ca
  readOnly: true
{{- end }}
{{- with include "common.trustMount" . }}{{ nindent 0 . }}{{ end }}
{{- else }}
- name: copies
  mountPath: /copies
{{- end }}
{{- end }}
{{- end }}

{{/* A Secret that is not there keeps no backup from being made: its copy fails then, and says so. */}}
{{- define "neutree.copies.volumes" -}}
{{- if include "neutree.copies.on" . -}}
{{- $s3 := .Values.global.backup.s3 -}}
- name: escrow
  projected:
    sources:
      - secret:
          name: {{ include "neutree.copies.valuesSecret" . }}
          optional: true
      {{- range include "neutree.copies.secrets" . | fromYamlArray }}
      {{- $secret := .name }}
      - secret:
          name: {{ $secret | quote }}
          optional: true
          items:
            {{- range .keys }}
            - {key: {{ . | quote }}, path: {{ printf "secrets/%s/%s" $secret . | quote }}}
            {{- end }}
      {{- end }}
{{- if $s3.bucket }}
- name: s3
  secret:
    secretName: {{ $s3.existingSecret | quote }}
    optional: true
    items:
      - {key: {{ $s3.accessKeyKey | quote }}, path: access-key}
      - {key: {{ $s3.secretKeyKey | quote }}, path: secret-key}
      {{- with $s3.sessionTokenKey }}
      - {key: {{ . | quote }}, path: session-token}
      {{- end }}
{{- with $s3.caSecret }}
- name: s3-ca
  secret:
    secretName: {{ . | quote }}
    optional: true
    items:
      - {key: {{ $s3.caSecretKey | quote }}, path: ca.crt}
{{- end }}
{{- with include "common.trustVolume" . }}{{ nindent 0 . }}{{ end }}
{{- else }}
- name: copies
  persistentVolumeClaim:
    claimName: {{ .Values.global.backup.offsite.existingClaim | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the credentials for the bucket, as an item of "neutree.secrets.spec". */}}
{{- define "neutree.copies.credentials" -}}
{{- $s3 := .Values.global.backup.s3 -}}
- name: {{ $s3.existingSecret | quote }}
  existing: true
  value: global.backup.s3.existingSecret
  data:
    {{- /* The service has made them, as long as it likes. */}}
    {{ $s3.accessKeyKey | quote }}: {required: true, minLength: 1, public: true}
    {{ $s3.secretKeyKey | quote }}: {required: true, minLength: 1}
    {{- with $s3.sessionTokenKey }}
    {{ . | quote }}: {required: true, minLength: 1}
    {{- end }}
    {{- if eq $s3.caSecret $s3.existingSecret }}
    {{ $s3.caSecretKey | quote }}: {required: true, lines: true, public: true}
    {{- end }}
{{- end }}

{{/* What is wrong with the values of copies, as a YAML list of sentences. A private key is not repeated. */}}
{{- define "neutree.validate.copies" -}}
{{- $backup := .Values.global.backup -}}
{{- $s3 := $backup.s3 -}}
{{- $offsite := $backup.offsite -}}
{{- $problems := list -}}
{{- range $name, $keys := dict "recipients" $offsite.recipients "drillRecipients" $offsite.drillRecipients }}
{{- range $i, $key := $keys }}
{{- if contains "AGE-SECRET-KEY-" (upper $key) }}
{{- $problems = append $problems (printf "global.backup.offsite.%s[%d] is a private key: give the public key that belongs to it (age-keygen -y prints it), keep the private key out of the cluster, and replace it, since Helm and its history may have seen it" $name $i) }}
{{- else if not (regexMatch `^age1[a-z0-9]{58,}$` $key) }}
{{- $problems = append $problems (printf "global.backup.offsite.%s[%d] is no public key of age: these begin with age1, and age-keygen makes one" $name $i) }}
{{- end }}
{{- end }}
{{- end }}
{{- $quantum := list }}
{{- range concat $offsite.recipients $offsite.drillRecipients }}
{{- $quantum = append $quantum (hasPrefix "age1pq1" .) | uniq }}
{{- end }}
{{- if gt (len $quantum) 1 }}
{{- $problems = append $problems "global.backup.offsite.recipients and drillRecipients have keys that begin with age1pq1 and others: age does not mix them; use keys of one kind" }}
{{- end }}
{{- if or $s3.bucket $s3.endpoint $s3.existingSecret }}
{{- if not $s3.bucket }}
{{- $problems = append $problems "global.backup.s3 has no bucket: set global.backup.s3.bucket, or leave endpoint and existingSecret empty too" }}
{{- end }}
{{- if not (regexMatch (printf "^https?://%s$" (include "neutree.authorityPattern" .)) $s3.endpoint) }}
{{- $problems = append $problems (printf "global.backup.s3.endpoint %q is no address of a service: write it as https://host or https://host:port, without the bucket and without a path" $s3.endpoint) }}
{{- else if and (hasPrefix "http:" $s3.endpoint) (not $s3.plainHTTP) }}
{{- $problems = append $problems (printf "global.backup.s3.endpoint %q is not encrypted: use https://, or set global.backup.s3.plainHTTP=true if others may see when backups are made" $s3.endpoint) }}
{{- end }}
{{- if not $s3.existingSecret }}
{{- $problems = append $problems "global.backup.s3 needs credentials: set global.backup.s3.existingSecret to a Secret with an access key and a secret key" }}
{{- end }}
{{- if $offsite.existingClaim }}
{{- $problems = append $problems "global.backup.s3.bucket and global.backup.offsite.existingClaim are both set, and copies go to one place: leave one of them empty" }}
{{- end }}
{{- end }}
{{- if eq $offsite.existingClaim (include "common.name" (list . "backups")) }}
{{- $problems = append $problems (printf "global.backup.offsite.existingClaim %q is the PVC that the backups are in: name one on other storage" $offsite.existingClaim) }}
{{- end }}
{{- range $name, $path := dict "s3.prefix" $s3.prefix "offsite.folder" $offsite.folder }}
{{- if or (has ".." (splitList "/" $path)) (has "." (splitList "/" $path)) }}
{{- $problems = append $problems (printf "global.backup.%s %q must be a path without . and .. in it" $name $path) }}
{{- end }}
{{- end }}
{{- if or $s3.bucket $offsite.existingClaim }}
{{- if not $offsite.recipients }}
{{- $problems = append $problems "copies of backups are encrypted, and global.backup.offsite.recipients is empty, so they could not be decrypted: make a key with age-keygen, keep it out of the cluster, and put its public key there" }}
{{- end }}
{{- if not $backup.enabled }}
{{- $problems = append $problems "global.backup.enabled=false turns all backups off, and there is nothing to copy: set it to true, or leave global.backup.s3.bucket and global.backup.offsite.existingClaim empty" }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
