{{/* What is wrong with the prefix of all names, in a sentence. Empty: nothing. */}}
{{- define "neutree.validate.prefix" -}}
{{- if not (regexMatch `^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$` .Values.global.namePrefix) -}}
{{ printf "global.namePrefix %q can't begin the name of an object: use up to 20 lower-case letters, digits and dashes, a letter first, no dash last" .Values.global.namePrefix }}
{{- end -}}
{{- end }}

{{/* Contradictions in the values that their schema can't express, or not as clearly, as a YAML list of sentences. */}}
{{- define "neutree.validate.values" -}}
{{- $global := .Values.global -}}
{{- $problems := list -}}

{{- with include "neutree.validate.prefix" . }}
{{- $problems = append $problems . }}
{{- end }}

{{- if not (regexMatch (printf "^(%s)?$" (include "neutree.hostPattern" .)) $global.host) }}
{{- $problems = append $problems (printf "global.host %q is no host name or IPv4 address: between its dots there are up to 63 letters, digits and dashes; leave out scheme, port and path; the port is global.exposure.nodePorts.web, and a whole origin is global.publicUrls.web" $global.host) }}
{{- else if hasPrefix "files." (lower $global.host) }}
{{- $problems = append $problems (printf "global.host %q starts with \"files.\", which the platform keeps for exported files: choose another name" $global.host) }}
{{- end }}

{{- range $key, $url := $global.publicUrls }}
{{- if and $url (not (regexMatch (printf "^https?://%s$" (include "neutree.authorityPattern" $)) $url)) }}
{{- $problems = append $problems (printf "global.publicUrls.%s %q is no origin: write it as https://host or http://host:port, with no path and no slash at the end" $key $url) }}
{{- end }}
{{- end }}
{{- if regexMatch `^https?://[Ff][Ii][Ll][Ee][Ss]\.` $global.publicUrls.web }}
{{- $problems = append $problems (printf "global.publicUrls.web %q has a host that starts with \"files.\", which the platform keeps for exported files: choose another name" $global.publicUrls.web) }}
{{- end }}
{{- if and $global.publicUrls.files (not (regexMatch `^https?://[Ff][Ii][Ll][Ee][Ss]\.` $global.publicUrls.files)) }}
{{- $problems = append $problems (printf "global.publicUrls.files %q has a host that does not start with \"files.\", by which the platform knows it: choose such a name, and let it lead to the same address as the web origin" $global.publicUrls.files) }}
{{- end }}

{{- $problems = concat $problems (include "neutree.validate.names" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.workloads" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.exposure" . | fromYamlArray) }}

{{- $problems = concat $problems (include "neutree.validate.modules" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.ldap" . | fromYamlArray) }}

{{- range $key, $value := $global.commonLabels }}
{{- if or (eq $key "app") (regexMatch `^(app\.kubernetes\.io|helm\.sh|cnpg\.io|pod-security\.kubernetes\.io)/` $key) }}
{{- $problems = append $problems (printf "global.commonLabels %q is a label that the chart sets itself: choose another key" $key) }}
{{- end }}
{{- end }}

{{- range $key, $image := merge (dict "hooks.image" $global.hooks.image) $global.images }}
{{- if not (or $image.tag $image.digest) }}
{{- $problems = append $problems (printf "global.%s has neither tag nor digest, and there is no common version to take instead: set one" (eq $key "hooks.image" | ternary $key (print "images." $key))) }}
{{- end }}
{{- end }}

{{- $workspaces := include "common.workspaceNamespace" . }}
{{- if not (regexMatch `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$` $workspaces) }}
{{- $problems = append $problems (printf "%q can't be the name of the workspaces' namespace: set global.workspaces.namespace to up to 63 lower-case letters, digits and dashes" $workspaces) }}
{{- end }}

{{- $secrets := include "neutree.secrets.names" . | fromYamlArray }}
{{- if ne (len $secrets) (len (uniq $secrets)) }}
{{- $problems = append $problems "the values that name existing Secrets (global.admin, global.secrets, global.secrets.sandbox, global.secrets.browser, global.ldap, global.trustedCAs, global.database.external, global.backup.s3) must each name another one, and none that the chart makes itself" }}
{{- end }}

{{- $problems = concat $problems (include "neutree.validate.database" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.storage" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.schedule" . | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.copies" . | fromYamlArray) }}

{{- with .Values.uninstall.deleteData }}
{{- if not (regexMatch (printf "^%s@[1-9][0-9]*$" (regexQuoteMeta $.Release.Name)) .) }}
{{- $problems = append $problems (printf "uninstall.deleteData is %q, and must name this release and the revision that this command makes: to have helm uninstall delete all data of this release, set uninstall.deleteData=%s; to keep the data set uninstall.deleteData to nothing" . (include "neutree.delete.value" $)) }}
{{- end }}
{{- end }}

{{- $problems = concat $problems (include "neutree.validate.watches" . | fromYamlArray) }}

{{- if index .Values "cloudnative-pg" "nameOverride" }}
{{- $problems = append $problems "cloudnative-pg.nameOverride changes the label by which the operator finds its own Deployment: remove it; cloudnative-pg.fullnameOverride renames its objects" }}
{{- end }}

{{- $problems | toYaml }}
{{- end }}
