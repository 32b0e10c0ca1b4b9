{{/*
Values that stand elsewhere than a user may think: renamed ones, and those that most charts have in another place. The
schema lets them through as "moved", so that the message can say where to set them instead.
*/}}
{{- define "neutree.movedValues" -}}
image: global.images, where each service has its own
imageRegistry: global.imageRegistry
imagePullSecrets: global.imagePullSecrets
ingress: global.exposure.type=ingress and global.exposure.ingress
service: global.exposure.type and global.exposure.nodePorts
postgresql: global.database
cnpg: cloudnative-pg for the operator, and global.database.cnpg for the database
persistence: global.storage
global.storageClass: global.storage.shared.storageClass, global.storage.afsController.storageClass, global.database.cnpg.storage.storageClass and global.workspaces.storageClass
global.postgresql: global.database
{{- end }}

{{/*
Those of them that are set, as a YAML list of sentences. What a chart above this one shares with all its dependencies
may be meant for others.
*/}}
{{- define "neutree.validate.moved" -}}
{{- $problems := list -}}
{{- range $path, $instead := include "neutree.movedValues" . | fromYaml }}
{{- $at := and (hasPrefix "global." $path) (not $.Chart.IsRoot) | ternary dict $.Values }}
{{- range splitList "." $path }}
{{- $at = and (kindIs "map" $at) (hasKey $at .) | ternary (get $at .) nil }}
{{- end }}
{{- if not (kindIs "invalid" $at) }}
{{- $problems = append $problems (printf "%s is no value of this chart: set %s" $path $instead) }}
{{- end }}
{{- end }}
{{- if .Chart.IsRoot }}
{{- $known := (include "neutree.defaults" . | fromJson).global }}
{{- range $key, $_ := omit .Values.global "storageClass" "postgresql" }}
{{- if not (hasKey $known $key) }}
{{- $problems = append $problems (printf "global.%s is no value of this chart, which has under global: %s" $key (keys $known | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
