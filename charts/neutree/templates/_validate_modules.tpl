{{/* What a module lacks, as a YAML list of sentences. */}}
{{- define "neutree.validate.modules" -}}
{{- $global := .Values.global -}}
{{- $modules := $global.modules -}}
{{- $problems := list -}}
{{- if $modules.sandbox.enabled }}
{{- if not (regexMatch `^https?://([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]+)?$` .Values.sandbox.openSandbox.url) }}
{{- $problems = append $problems (printf "global.modules.sandbox.enabled needs OpenSandbox, which is installed by itself: set sandbox.openSandbox.url (now %q) to the address of its server, such as http://opensandbox-server.opensandbox.svc" .Values.sandbox.openSandbox.url) }}
{{- end }}
{{- end }}
{{- if eq $global.exposure.type "nodePort" }}
{{- $taken := dict }}
{{- range $key := list "web" "sandbox" }}
{{- if or (eq $key "web") (dig $key "enabled" false $modules) }}
{{- $port := get $global.exposure.nodePorts $key | toString }}
{{- with get $taken $port }}
{{- $problems = append $problems (printf "global.exposure.nodePorts.%s and .%s are both %s: give each a port of its own" . $key $port) }}
{{- end }}
{{- $_ := set $taken $port $key }}
{{- end }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
