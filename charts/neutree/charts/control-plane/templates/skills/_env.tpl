{{/* The marks between which the service empties its cache stay below the volume's limit, at which the pod would be evicted. */}}
{{- define "controlPlane.skills.env" -}}
{{- $bytes := include "common.mebibytes" .Values.skills.cacheSize | int64 | mul 1048576 -}}
- name: CACHE_DIR
  value: {{ (include "common.facts" . | fromJson).services.skills.cache.path }}
- name: CACHE_HIGH_WATER_BYTES
  value: {{ div (mul $bytes 8) 10 | quote }}
- name: CACHE_LOW_WATER_BYTES
  value: {{ div (mul $bytes 6) 10 | quote }}
{{- end }}
