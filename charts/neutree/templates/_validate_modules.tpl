{{/* What a module lacks, as a YAML list of sentences. */}}
{{- define "neutree.validate.modules" -}}
{{- $global := .Values.global -}}
{{- $modules := $global.modules -}}
{{- $problems := list -}}
{{- if $modules.sandbox.enabled }}
{{- if not (regexMatch (printf "^https?://%s$" (include "neutree.authorityPattern" .)) .Values.sandbox.openSandbox.url) }}
{{- $problems = append $problems (printf "global.modules.sandbox.enabled needs OpenSandbox, which is installed by itself: set sandbox.openSandbox.url (now %q) to the address of its server, such as http://opensandbox-server.opensandbox.svc" .Values.sandbox.openSandbox.url) }}
{{- end }}
{{- end }}
{{- if $modules.browser.enabled }}
{{- $browser := .Values.browser }}
{{- if not $modules.sandbox.enabled }}
{{- $problems = append $problems "global.modules.browser.enabled needs sandboxes, in which browsers run: set global.modules.sandbox.enabled too" }}
{{- end }}
{{- if and $browser.coturn.enabled (not (regexMatch `^(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}$` $browser.turn.host)) }}
{{- $problems = append $problems (printf "browser.turn.host %q is no IPv4 address, and the relay can't be told a name: set it to the address under which users reach the relay" $browser.turn.host) }}
{{- else if not (regexMatch (printf "^%s$" (include "neutree.hostPattern" .)) $browser.turn.host) }}
{{- $problems = append $problems (printf "browser.turn.host %q is no address and no name: set it to that of your relay, with no scheme and no port" $browser.turn.host) }}
{{- end }}
{{- if and (not $browser.coturn.enabled) (not $global.secrets.browser.existingSecret) }}
{{- $problems = append $problems "browser.coturn.enabled is false, so there is a relay elsewhere, and its secret is not known: name a Secret with it, as TURN_AUTH_SECRET, in global.secrets.browser.existingSecret" }}
{{- end }}
{{- if gt (int $browser.coturn.relayPorts.min) (int $browser.coturn.relayPorts.max) }}
{{- $problems = append $problems (printf "browser.coturn.relayPorts.min %d is above max %d" (int $browser.coturn.relayPorts.min) (int $browser.coturn.relayPorts.max)) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
