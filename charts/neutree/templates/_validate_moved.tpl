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

{{/* Those of them that are set, as a YAML list of sentences. */}}
{{- define "neutree.validate.moved" -}}
{{- $problems := list -}}
{{- range $path, $instead := include "neutree.movedValues" . | fromYaml }}
{{- $at := $.Values }}
{{- range splitList "." $path }}
{{- $at = and (kindIs "map" $at) (hasKey $at .) | ternary (get $at .) nil }}
{{- end }}
{{- if not (kindIs "invalid" $at) }}
{{- $problems = append $problems (printf "%s is no value of this chart: set %s" $path $instead) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
