{{/*
Fills in what the values lack, and returns the paths of what can't be filled in as a JSON array. A key without a value is
empty: a list, a mapping or a text whose default is empty becomes that, as do the requests and limits of a container. Of
anything else no meaning is known. Takes a dict:
  at        path of the values, for messages
  values    what to complete, in place
  defaults  the chart's own values
*/}}
{{- define "neutree.complete" -}}
{{- $lacking := list -}}
{{- range $key, $default := .defaults -}}
{{- $path := trimPrefix "." (printf "%s.%s" $.at $key) -}}
{{- $group := and (kindIs "map" $default) (not (empty $default)) (not (regexMatch "(^|[a-z])([Rr]esources|labels)$" $key)) -}}
{{- if and (hasKey $.values $key) (not (kindIs "invalid" (get $.values $key))) -}}
{{- if $group -}}
{{- $inner := dict "at" $path "values" (get $.values $key) "defaults" $default -}}
{{- $lacking = concat $lacking (include "neutree.complete" $inner | fromJsonArray) -}}
{{- end -}}
{{- else if and (kindIs "map" $default) (not $group) -}}
{{- $_ := set $.values $key dict -}}
{{- else if and (empty $default) (or (kindIs "slice" $default) (kindIs "string" $default)) -}}
{{- $_ := set $.values $key $default -}}
{{- else -}}
{{- $lacking = append $lacking $path -}}
{{- end -}}
{{- end -}}
{{- $lacking | toJson -}}
{{- end }}

{{/* Ends the render with all reasons. Takes a list of sentences. */}}
{{- define "neutree.refuse" -}}
{{- fail (printf "\n\nThe release can't be installed like this:\n- %s\n" (join "\n- " .)) -}}
{{- end }}
