{{/* Name of the NetworkPolicy that limits what workspaces may connect to. */}}
{{- define "neutree.egress.policy" -}}
{{ include "common.name" (list . "workspaces-egress") }}
{{- end }}

{{/*
What workspaces may connect to: the parts of the platform that they call, name servers, the internet, and what the
values add. Bootstrap applies it, since only the database can say whether the installation is new. The channel gateway,
the skills service and PostgreSQL are not among it: the control plane calls these for workspaces. Neither is the TURN
server, which users' browsers and the pods of sandboxes use.
*/}}
{{- define "neutree.egress.manifest" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $values := .Values.global.networkPolicies.workspaceEgress -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "neutree.egress.policy" . }}
  namespace: {{ include "common.workspaceNamespace" . }}
  labels:
    {{- include "common.createdLabels" (list . "workspaces") | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      app: {{ $facts.workspaces.app }}
  policyTypes: [Egress]
  egress:
    {{- include "neutree.egress.names" . | nindent 4 }}
    {{- range include "neutree.egress.services" . | fromYamlArray }}
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ $.Release.Namespace }}
          podSelector:
            matchLabels:
              app: {{ include "common.serviceName" (list $ .) }}
      ports:
        - port: {{ (get $facts.services .).port }}
        {{- if and (eq . "cp") (include "common.hasFront" $) }}
        - port: {{ $facts.front.port }}
        {{- end }}
    {{- end }}
    {{- range include "neutree.egress.origins" . | fromYamlArray }}
    - to:
        - ipBlock: {cidr: {{ .cidr }}}
      ports:
        - port: {{ .port }}
    {{- end }}
    - to:
        {{- range $facts.internet }}
        {{- $except := .except }}
        {{- $six := contains ":" .cidr }}
        {{- range $values.deny }}
        {{- if eq (contains ":" .) $six }}
        {{- $except = append $except . }}
        {{- end }}
        {{- end }}
        - ipBlock:
            cidr: {{ .cidr }}
            except: {{ $except | uniq | toJson }}
        {{- end }}
    {{- range $values.allow }}
    - to:
        {{- if .cidr }}
        - ipBlock: {cidr: {{ .cidr | quote }}}
        {{- else }}
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ .namespace | quote }}
        {{- end }}
      {{- with .ports }}
      ports:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
{{- end }}

{{/*
Rules for name servers: the pods of the cluster's DNS, and caches on the nodes. Policies see the port of a pod and not
that of its Service, so a DNS that listens on another port than 53 is found by the names that Kubernetes' own DNS gives
its ports. A rule for these alone keeps the first one in force where a plugin knows no names.
*/}}
{{- define "neutree.egress.names" -}}
{{- $dns := .Values.global.networkPolicies.workspaceEgress.dns -}}
{{- $openshift := .Values.global.openshift.enabled -}}
- to:
    {{- include "neutree.egress.dnsPods" . | nindent 4 }}
  ports:
    {{- range $dns.ports | default ($openshift | ternary (list 5353) (list 53)) }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- if not (or $dns.ports $openshift) }}
- to:
    {{- include "neutree.egress.dnsPods" . | nindent 4 }}
  ports:
    - {port: dns, protocol: UDP}
    - {port: dns-tcp, protocol: TCP}
{{- end }}
{{- with $dns.addresses }}
- to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}
{{- end }}

{{/* Pods of the cluster's DNS, as peers of a rule. */}}
{{- define "neutree.egress.dnsPods" -}}
{{- $dns := .Values.global.networkPolicies.workspaceEgress.dns -}}
{{- $openshift := .Values.global.openshift.enabled -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ $dns.namespace | default ($openshift | ternary "openshift-dns" "kube-system") }}
  podSelector:
    {{- if $dns.podLabels }}
    matchLabels:
      {{- toYaml $dns.podLabels | nindent 6 }}
    {{- else if $openshift }}
    matchLabels:
      dns.operator.openshift.io/daemonset-dns: default
    {{- else }}
    # As its own manifests and its Helm chart label it, and the cache on each node, to which Cilium redirects pods.
    matchExpressions:
      - {key: k8s-app, operator: In, values: [kube-dns, coredns, node-local-dns]}
    {{- end }}
{{- end }}

{{/*
Services that workspaces call, as a YAML list: the control plane and the AFS controller inside the cluster, sandboxes and
browsers by their public origins, which a node port leads to their pods.
*/}}
{{- define "neutree.egress.services" -}}
- cp
- afs-controller
{{- range list "sandbox" "browser" }}
{{- if (get $.Values.global.modules .).enabled }}
- {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Public origins whose host is an IPv4 address, as a YAML list of ranges and ports. Where a name leads is not known here:
to the internet, or to an address that "allow" has to name.
*/}}
{{- define "neutree.egress.origins" -}}
{{- $modules := .Values.global.modules -}}
{{- $urls := list (include "common.webURL" .) (include "common.filesURL" .) -}}
{{- if $modules.sandbox.enabled }}{{ $urls = append $urls (include "common.sandboxURL" .) }}{{ end -}}
{{- if $modules.browser.enabled }}{{ $urls = append $urls (include "common.browserURL" .) }}{{ end -}}
{{- $found := list -}}
{{- range $urls | uniq }}
{{- if regexMatch `^https?://[0-9.]+(:[0-9]+)?$` . }}
{{- $port := regexFind `:[0-9]+$` . | trimPrefix ":" | default (hasPrefix "https:" . | ternary "443" "80") }}
{{- $found = append $found (dict "cidr" (printf "%s/32" (include "common.hostOf" .)) "port" (int $port)) }}
{{- end }}
{{- end }}
{{- $found | toYaml }}
{{- end }}
