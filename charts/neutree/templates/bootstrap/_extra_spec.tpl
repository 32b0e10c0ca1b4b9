{{/*
What global.database.cnpg.extraSpec adds to the Cluster. The chart's own fields stay the chart's: each that it sets, or that
would contradict one, has a value of its own, or none.
*/}}

{{/* What the user gives, without what is null, as a YAML dict. */}}
{{- define "neutree.extraSpec" -}}
{{- $given := dict -}}
{{- range $field, $value := .Values.global.database.cnpg.extraSpec -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $given $field $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $given }}
{{- end }}

{{/* Fields that extraSpec must not set, and what to set instead, as a YAML dict. */}}
{{- define "neutree.extraSpec.owned" -}}
instances: global.database.cnpg.instances
minSyncReplicas: global.database.cnpg.instances, which decides about synchronous standbys
maxSyncReplicas: global.database.cnpg.instances, which decides about synchronous standbys
imageName: global.images.postgresql
imageCatalogRef: global.images.postgresql
imagePullPolicy: global.imagePullPolicy
imagePullSecrets: global.imagePullSecrets
priorityClassName: global.database.cnpg.priorityClassName
inheritedMetadata: global.database.cnpg.podLabels and podAnnotations
storage: global.database.cnpg.storage
resources: global.database.cnpg.resources
affinity: global.database.cnpg.nodeSelector and tolerations
topologySpreadConstraints: global.database.cnpg.topologySpreadConstraints
postgresql.parameters: global.database.cnpg.parameters
postgresql.pg_hba: global.database.cnpg.requireTLS
postgresql.synchronous: global.database.cnpg.instances, which decides about synchronous standbys
bootstrap.initdb: global.database.name and user
bootstrap.recovery.database: global.database.name
bootstrap.recovery.owner: global.database.user
bootstrap.recovery.secret: global.database.user, whose password is in the release's own Secret
bootstrap.pg_basebackup.database: global.database.name
bootstrap.pg_basebackup.owner: global.database.user
bootstrap.pg_basebackup.secret: global.database.user, whose password is in the release's own Secret
{{- if .Values.global.backup.volumeSnapshotClass }}
backup.volumeSnapshot.className: global.backup.volumeSnapshotClass
{{- end }}
# The hooks create the CA certificate, which every service verifies, and wait for an update that no one has to confirm.
certificates: ""
superuserSecret: ""
enableSuperuserAccess: ""
primaryUpdateMethod: ""
primaryUpdateStrategy: ""
{{- end }}

{{/* Not empty when a dict has a field. Usage: include "neutree.extraSpec.has" (list <dict> "postgresql.pg_hba") */}}
{{- define "neutree.extraSpec.has" -}}
{{- $at := index . 0 -}}
{{- $found := true -}}
{{- range splitList "." (index . 1) -}}
{{- if and $found (kindIs "map" $at) (hasKey $at .) -}}
{{- $at = get $at . -}}
{{- else -}}
{{- $found = false -}}
{{- end -}}
{{- end -}}
{{- if $found }}yes{{ end }}
{{- end }}

{{/* What is wrong with extraSpec, as a YAML list of sentences. */}}
{{- define "neutree.validate.extraSpec" -}}
{{- $extra := include "neutree.extraSpec" . | fromYaml -}}
{{- $at := "global.database.cnpg.extraSpec" -}}
{{- $problems := list -}}
{{- if and $extra (include "common.externalDatabase" .) -}}
{{- $problems = append $problems (printf "%s is for the Cluster of CloudNativePG, and global.database.mode is external: leave it empty" $at) -}}
{{- end -}}
{{- range $field, $value := include "neutree.extraSpec.owned" . | fromYaml -}}
{{- if include "neutree.extraSpec.has" (list $extra $field) -}}
{{- $instead := empty $value | ternary "remove it: the platform depends on the chart's choice" (printf "set %s" $value) -}}
{{- $problems = append $problems (printf "%s sets %s, which the chart sets itself: %s" $at $field $instead) -}}
{{- end -}}
{{- end -}}
{{- range list "bootstrap" "managed" "postgresql" "backup" -}}
{{- if and (hasKey $extra .) (not (kindIs "map" (get $extra .))) -}}
{{- $problems = append $problems (printf "%s.%s is no object: write its fields below it" $at .) -}}
{{- $_ := unset $extra . -}}
{{- end -}}
{{- end -}}
{{- $bootstrap := $extra.bootstrap | default dict -}}
{{- if and (hasKey $bootstrap "recovery") (hasKey $bootstrap "pg_basebackup") -}}
{{- $problems = append $problems (printf "%s.bootstrap names both recovery and pg_basebackup, and a database has one origin: leave one of them" $at) -}}
{{- end -}}
{{- range dig "managed" "roles" list $extra -}}
{{- if and (kindIs "map" .) (eq (toString (get . "name")) $.Values.global.database.user) -}}
{{- $problems = append $problems (printf "%s.managed.roles names role %s, which owns the platform's database and has the release's own Secret: remove it from the list" $at .name) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml }}
{{- end }}

{{/*
The Cluster with extraSpec. A database that is recovered or copied is not made, so initdb goes; the role gets the password
that the release has.
*/}}
{{- define "neutree.extraSpec.merged" -}}
{{- $global := .Values.global -}}
{{- $cluster := include "neutree.cluster.own" . | fromYaml -}}
{{- $extra := include "neutree.extraSpec" . | fromYaml -}}
{{- $fields := keys $extra | sortAlpha | join "," -}}
{{- $spec := mergeOverwrite $cluster.spec $extra -}}
{{- range list "recovery" "pg_basebackup" -}}
{{- with kindIs "map" $spec.bootstrap | ternary $spec.bootstrap dict | dig . dict -}}
{{- $_ := set . "database" $global.database.name -}}
{{- $_ := set . "owner" $global.database.user -}}
{{- $_ := set . "secret" (dict "name" (include "common.name" (list $ "pg-user"))) -}}
{{- $_ := unset $spec.bootstrap "initdb" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $cluster "spec" $spec -}}
{{- /* By it the hooks know whose a field is that the operator does not know. */ -}}
{{- $_ := set $cluster.metadata.annotations "neutree.ai/extra-spec" $fields -}}
{{- toYaml $cluster }}
{{- end }}
