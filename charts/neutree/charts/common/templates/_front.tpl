{{/*
The control plane has one port for users, workspaces and services. On a node port users get another port of its pods, on
which a container lets only public paths pass.
*/}}

{{/* Name of the Service that leads a node port to that container. */}}
{{- define "common.frontService" -}}
{{ include "common.name" (list . (include "common.facts" . | fromJson).front.name) }}
{{- end }}

{{/* Not empty where a node port leads to the control plane or to that container. */}}
{{- define "common.hasFront" -}}
{{- if eq .Values.global.exposure.type "nodePort" }}yes{{ end }}
{{- end }}

{{/*
Not empty where the node port is that container's. An installation in which the control plane has the port keeps it so,
unless the values say otherwise: something may use the paths that would be closed. So does one of which nothing is known,
as where there is no cluster to ask.
*/}}
{{- define "common.frontHolds" -}}
{{- $paths := .Values.global.exposure.internalPaths -}}
{{- if include "common.hasFront" . }}
{{- if eq $paths "closed" -}}
yes
{{- else if eq $paths "auto" }}
{{- $front := lookup "v1" "Service" .Release.Namespace (include "common.frontService" .) }}
{{- $cp := lookup "v1" "Service" .Release.Namespace (include "common.serviceName" (list . "cp")) | default dict }}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (or $front (ne (dig "spec" "type" "" $cp) "NodePort")) -}}
yes
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Not empty where users come by that container alone, so that a policy can close the control plane's own port to them. Helm
applies policies before Services and before pods: in an upgrade in which users change from another way to the node port,
they still come by that one.
*/}}
{{- define "common.frontAlone" -}}
{{- if include "common.frontHolds" . }}
{{- $front := lookup "v1" "Service" .Release.Namespace (include "common.frontService" .) }}
{{- if or $front (not (lookup "v1" "Service" .Release.Namespace (include "common.serviceName" (list . "cp")))) -}}
yes
{{- end }}
{{- end }}
{{- end }}

{{/*
Not empty where a rollback could lead to version 0.1.0, whose hooks do not know the Service: in an upgrade
whose values close the paths. ArgoCD has no such way back, and does not manage what has an owner.
*/}}
{{- define "common.frontTied" -}}
{{- if and (include "common.frontHolds" .) (eq .Values.global.exposure.internalPaths "closed") .Release.IsUpgrade }}yes{{ end }}
{{- end }}

{{/* Paths of the control plane that users may not reach, as a YAML list. */}}
{{- define "common.closedPaths" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- concat $facts.closedPaths (.Values.global.exposure.remoteEnvironments | ternary list $facts.remotePaths) | toYaml }}
{{- end }}

{{/*
That container, as a YAML list. It is there wherever users come by a node port, so that the port can change hands at any
time without a new pod. When its pod ends it takes requests for as long as the control plane does.
*/}}
{{- define "common.frontContainers" -}}
{{- if include "common.hasFront" . }}
{{- $front := (include "common.facts" . | fromJson).front -}}
{{- $cp := (include "common.facts" . | fromJson).services.cp -}}
{{- $probe := dict "tcpSocket" (dict "port" $front.portName) -}}
- name: {{ $front.name }}
  image: {{ include "common.hooksImage" . }}
  {{- with include "common.imagePullPolicy" . }}{{ nindent 2 . }}{{ end }}
  args:
    - front
    - --listen=:{{ $front.port }}
    - --to=http://127.0.0.1:{{ $cp.port }}
    - --drain=5s
    {{- range include "common.closedPaths" . | fromYamlArray }}
    - --closed={{ . }}
    {{- end }}
  ports:
    - name: {{ $front.portName }}
      containerPort: {{ $front.port }}
  readinessProbe:
    {{- toYaml $probe | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 2
  livenessProbe:
    {{- toYaml $probe | nindent 4 }}
    periodSeconds: 20
    timeoutSeconds: 5
    failureThreshold: 3
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    {{- include "common.resources" .Values.global.exposure.frontResources | nindent 4 }}
  securityContext:
    {{- include "common.containerSecurityContext" dict | nindent 4 }}
{{- end }}
{{- end }}

{{/* Service that leads the node port to that container. Usage: include "common.frontNodePort" $ */}}
{{- define "common.frontNodePort" -}}
{{- $front := (include "common.facts" . | fromJson).front -}}
{{- $cp := (include "common.facts" . | fromJson).services.cp -}}
{{- $app := dict "root" . "name" (include "common.frontService" .) "component" $cp.component -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
  annotations:
    # ArgoCD applies Services at the same time, and this one gets a port that another may have until then.
    argocd.argoproj.io/sync-wave: "1"
spec:
  type: NodePort
  selector:
    {{- include "common.selector" (dict "name" (include "common.serviceName" (list . "cp"))) | nindent 4 }}
  ports:
    - name: {{ $front.portName }}
      port: {{ $cp.servicePort }}
      targetPort: {{ $front.portName }}
      nodePort: {{ get .Values.global.exposure.nodePorts $cp.nodePort }}
{{- end }}
