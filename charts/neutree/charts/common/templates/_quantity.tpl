{{/* A size such as 10Gi in MiB, for what is derived from it. */}}
{{- define "common.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[MGT]i$" . -}}
{{- mul $number (get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) $unit) -}}
{{- end }}

{{/* A number, but no less than a minimum and no more than a maximum. Usage: include "common.clamp" (list 5 1 3) */}}
{{- define "common.clamp" -}}
{{- max (index . 1) (min (index . 0) (index . 2)) -}}
{{- end }}
