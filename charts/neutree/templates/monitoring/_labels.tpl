{{/* Labels of a monitor: its Prometheus may want some of its own. Takes an "app". */}}
{{- define "neutree.monitor.labels" -}}
{{- toYaml (merge (include "common.labels" . | fromYaml) .root.Values.global.monitoring.labels) }}
{{- end }}
