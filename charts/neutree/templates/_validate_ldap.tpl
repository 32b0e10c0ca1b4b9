{{/* What a directory lacks, as a YAML list of sentences. The control plane would take examples for what is empty. */}}
{{- define "neutree.validate.ldap" -}}
{{- $ldap := .Values.global.ldap -}}
{{- $problems := list -}}
{{- if .Values.global.modules.ldap.enabled }}
{{- if not (regexMatch (printf "^ldaps?://%s$" (include "neutree.authorityPattern" .)) $ldap.url) }}
{{- $problems = append $problems (printf "global.ldap.url %q is no address of a directory: write it as ldaps://host or ldap://host:port, with nothing behind it" $ldap.url) }}
{{- end }}
{{- range $key, $what := dict
  "bindDN" "the account that searches the directory"
  "existingSecret" "a Secret with that account's password"
  "searchBase" "where users are searched for" }}
{{- if not (get $ldap $key) }}
{{- $problems = append $problems (printf "global.ldap.%s is empty: set it to %s" $key $what) }}
{{- end }}
{{- end }}
{{- if not (regexMatch `^[A-Za-z][-A-Za-z0-9;]*$` $ldap.attributes.username) }}
{{- $problems = append $problems (printf "global.ldap.attributes.username %q is no attribute: set it to the one that users log in with and that is unique, such as uid or sAMAccountName" $ldap.attributes.username) }}
{{- end }}
{{- if not (and (regexMatch `^\(.*\)$` $ldap.searchFilter) (eq (len (regexFindAll `\(` $ldap.searchFilter -1)) (len (regexFindAll `\)` $ldap.searchFilter -1)))) }}
{{- $problems = append $problems (printf "global.ldap.searchFilter %q is no filter: put it in parentheses, as in (objectClass=person) or (&(objectClass=person)(memberOf=cn=nap,dc=example,dc=com)), and close each" $ldap.searchFilter) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
