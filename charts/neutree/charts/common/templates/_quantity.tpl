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

{{/* A quantity of Kubernetes, such as 500m, 1.5 or 2Gi, as a plain number that can be compared. */}}
{{- define "common.quantity" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "(m|k|[MGTPE]|[KMGTPE]i)$" $text -}}
{{- $factors := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (trimSuffix $unit $text | float64) (get $factors $unit) -}}
{{- end }}

{{/*
Requests and limits of a container. An empty one is none: Helm drops a null under global before any template sees it, so
that is how a default is taken away.
*/}}
{{- define "common.resources" -}}
{{- $resources := dict -}}
{{- range $group, $quantities := . }}
{{- $set := dict }}
{{- range $name, $quantity := $quantities }}
{{- if ne (toString (kindIs "invalid" $quantity | ternary "" $quantity)) "" }}
{{- $_ := set $set $name $quantity }}
{{- end }}
{{- end }}
{{- if $set }}
{{- $_ := set $resources $group $set }}
{{- end }}
{{- end }}
{{- $resources | toYaml }}
{{- end }}
