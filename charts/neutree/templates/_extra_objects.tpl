{{/*
Not empty for an entry of extraObjects in which templates are filled in: a text, or a mapping that names something of
Helm's, as version 0.1.0 allowed. Any other braces are the object's own, such as those of a Prometheus rule.
*/}}
{{- define "neutree.isTemplate" -}}
{{- if or (kindIs "string" .) (include "neutree.isOldTemplate" .) }}yes{{ end }}
{{- end }}

{{/* Not empty for such a mapping. */}}
{{- define "neutree.isOldTemplate" -}}
{{- if and (kindIs "map" .) (regexMatch `\{\{-? *(\.(Release|Values|Chart|Capabilities|Template)\.|(include|tpl|lookup) )` (toYaml .)) }}yes{{ end }}
{{- end }}
