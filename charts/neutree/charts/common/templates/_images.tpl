{{/*
Reference of an image {registry, repository, tag, digest}. global.imageRegistry, when set, is the registry of all.
Usage: include "common.imageRef" (list $ $image)
*/}}
{{- define "common.imageRef" -}}
{{- $global := (index . 0).Values.global -}}
{{- $image := index . 1 -}}
{{ $global.imageRegistry | default $image.registry }}/{{ $image.repository }}
{{- with $image.tag }}:{{ . }}{{ end }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
Reference of one of global.images.
Usage: include "common.image" (list $ "gateway")
*/}}
{{- define "common.image" -}}
{{- $root := index . 0 -}}
{{ include "common.imageRef" (list $root (index $root.Values.global.images (index . 1))) }}
{{- end }}

{{/* Reference of the image that holds nap-hooks. */}}
{{- define "common.hooksImage" -}}
{{ include "common.imageRef" (list . .Values.global.hooks.image) }}
{{- end }}

{{/*
Pull policy of a container. Without a value Kubernetes chooses: Always for "latest", else IfNotPresent.
Empty without a value, so it stands in a "with".
*/}}
{{- define "common.imagePullPolicy" -}}
{{- with .Values.global.imagePullPolicy -}}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* Names of the pull secrets, as a YAML list. Entries are strings or objects with a name. */}}
{{- define "common.pullSecretNames" -}}
{{- $names := list }}
{{- range .Values.global.imagePullSecrets }}
{{- if kindIs "string" . }}
{{- $names = append $names . }}
{{- else }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- uniq $names | toYaml }}
{{- end }}

{{/* imagePullSecrets of a pod. */}}
{{- define "common.imagePullSecrets" -}}
{{- with include "common.pullSecretNames" . | fromYamlArray -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}
