{{/* What keeps the database from being made or reached, as a YAML list of sentences. */}}
{{- define "neutree.validate.database" -}}
{{- $problems := list -}}
{{- if include "common.externalDatabase" . }}
{{- $external := .Values.global.database.external }}
{{- if not $external.existingSecret }}
{{- $problems = append $problems "global.database.mode external needs a role: set global.database.external.existingSecret to a Secret with its name and password, or with the whole address under urlKey" }}
{{- end }}
{{- if and $external.urlKey $external.host }}
{{- $problems = append $problems (printf "global.database.external names both host %q and urlKey, whose address holds a host: set one of them" $external.host) }}
{{- else if not (or $external.urlKey (regexMatch (printf "^(%s|[0-9A-Fa-f]*:[0-9A-Fa-f:]+)$" (include "neutree.hostPattern" .)) $external.host)) }}
{{- $problems = append $problems (printf "global.database.external.host %q is no host name and no address: leave out scheme, port and path, or name a key with the whole address in urlKey" $external.host) }}
{{- end }}
{{- if and (eq $external.sslmode "verify-ca") (not $external.caSecret) }}
{{- $problems = append $problems "global.database.external.sslmode verify-ca needs the authority: set caSecret to a Secret with its certificate" }}
{{- else if and $external.caSecret (not $external.urlKey) (not (hasPrefix "verify-" $external.sslmode)) }}
{{- $problems = append $problems (printf "global.database.external.caSecret is not looked at with sslmode %s: set verify-full, or verify-ca where the certificate holds another name" $external.sslmode) }}
{{- end }}
{{- if (index .Values "cloudnative-pg").enabled }}
{{- $problems = append $problems "global.database.mode is external, and the CloudNativePG operator would have nothing to do: set cloudnative-pg.enabled=false" }}
{{- end }}
{{- else }}
{{- $cnpg := .Values.global.database.cnpg }}
{{- $connections := include "common.connections" . | int }}
{{- if lt (int $cnpg.maxConnections) $connections }}
{{- $problems = append $problems (printf "global.database.cnpg.maxConnections %d is too few: the services open up to %d connections" (int $cnpg.maxConnections) $connections) }}
{{- end }}
{{- if and (eq $cnpg.sslmode "disable") (eq $cnpg.requireTLS "always") }}
{{- $problems = append $problems "global.database.cnpg.requireTLS is always, and with sslmode disable no service could connect: set sslmode to verify-full" }}
{{- end }}
{{- range $name, $_ := $cnpg.parameters }}
{{- if has $name (include "common.facts" $ | fromJson).operator.fixedParameters }}
{{- $problems = append $problems (printf "global.database.cnpg.parameters sets %s, which CloudNativePG keeps to itself: remove it" $name) }}
{{- end }}
{{- end }}
{{- with get $cnpg.parameters "shared_buffers" }}
{{- $unit := regexFind "[kMGT]?B? *$" . | trim }}
{{- $factors := dict "" 1048576.0 "B" 1.0 "kB" 1024.0 "MB" 1048576.0 "GB" 1073741824.0 "TB" 1099511627776.0 }}
{{- $memory := dig "requests" "memory" "" $cnpg.resources }}
{{- $number := trimSuffix $unit . | trim }}
{{- if and $memory (regexMatch "^[0-9]+$" $number) (hasKey $factors $unit) (gt (mulf ($number | float64) (get $factors $unit)) (include "common.quantity" $memory | float64)) }}
{{- $problems = append $problems (printf "global.database.cnpg.parameters.shared_buffers %s is more than the memory that PostgreSQL requests, %v: raise global.database.cnpg.resources.requests.memory, to about four times as much" . $memory) }}
{{- end }}
{{- end }}
{{- if not (regexMatch `^[0-9]+(\.[0-9]+)*([-_].*)?$` (toString .Values.global.images.postgresql.tag)) }}
{{- $problems = append $problems (printf "global.images.postgresql.tag %q does not begin with a version, from which the operator reads PostgreSQL's major version: set a tag such as 17.10, and pin the image by its digest if you like" .Values.global.images.postgresql.tag) }}
{{- end }}
{{- if hasKey $cnpg.parameters "max_connections" }}
{{- $problems = append $problems "global.database.cnpg.parameters sets max_connections, which has a value of its own: set global.database.cnpg.maxConnections" }}
{{- end }}
{{- end }}
{{- if and .Values.global.backup.enabled (eq .Values.global.storage.afsController.accessMode "ReadWriteOncePod") }}
{{- $problems = append $problems "global.storage.afsController.accessMode ReadWriteOncePod keeps backups from AFS's database: set ReadWriteOnce, or global.backup.enabled=false" }}
{{- end }}
{{- if and .Values.global.backup.volumeSnapshotClass (include "common.externalDatabase" .) }}
{{- $problems = append $problems "global.backup.volumeSnapshotClass is for the operator's volumes, and global.database.mode is external: leave it empty" }}
{{- end }}
{{- $problems = concat $problems (include "neutree.validate.extraSpec" . | fromYamlArray) }}
{{- if and .Values.global.backup.velero .Values.global.database.cnpg.podAnnotations }}
{{- if hasKey .Values.global.database.cnpg.podAnnotations "backup.velero.io/backup-volumes-excludes" }}
{{- $problems = append $problems "global.database.cnpg.podAnnotations sets backup.velero.io/backup-volumes-excludes, which global.backup.velero sets: leave one of them out" }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
