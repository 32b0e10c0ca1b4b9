{{/* Name of the Secret with the relay's configuration: it reads its secret from there and from nowhere else but its arguments. */}}
{{- define "browser.coturn.secret" -}}
{{ include "common.name" (list . "coturn") }}
{{- end }}

{{/*
The relay's configuration, with $(TURN_AUTH_SECRET) where the hooks put the secret. Takes the umbrella's or this
chart's root, and this chart's values. Usage: include "browser.coturn.config" (list $ .Values)
*/}}
{{- define "browser.coturn.config" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- $coturn := $values.coturn -}}
listening-port={{ include "common.servicePort" (list $root "coturn") }}
min-port={{ $coturn.relayPorts.min }}
max-port={{ $coturn.relayPorts.max }}
realm={{ include "common.hostOf" (include "common.webURL" $root) }}
fingerprint
lt-cred-mech
use-auth-secret
static-auth-secret=$(TURN_AUTH_SECRET)
no-tls
no-dtls
no-cli
no-multicast-peers
no-tcp-relay
{{- range $coturn.deniedPeers }}
denied-peer-ip={{ . }}
{{- end }}
{{- range $coturn.allowedPeers }}
allowed-peer-ip={{ . }}
{{- end }}
log-file=stdout
pidfile=/tmp/turnserver.pid
userdb=/tmp/turndb
{{- end }}

{{/* Its own address, which on its node's network is the node's, and its node's. */}}
{{- define "browser.coturn.env" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{- end }}

{{/*
The image's own start goes through a shell. A browser and its user each have an address at coturn and send to the
other's, so coturn must relay to itself, and it admits addresses, not ports. The address that external-ip maps it admits
whatever is denied: in the node's network that is the node with all its ports. In a network of its own it is the pod,
and the node is denied.
*/}}
{{- define "browser.coturn.command" -}}
command: [turnserver]
args:
  - -c
  - /etc/coturn/turnserver.conf
  - --listening-ip=$(POD_IP)
  - --relay-ip=$(POD_IP)
  - --external-ip={{ .Values.turn.host }}/$(POD_IP)
  - --allowed-peer-ip=$(POD_IP)
  {{- if ne .Values.coturn.network "hostNetwork" }}
  - --denied-peer-ip=$(HOST_IP)
  {{- end }}
{{- end }}
