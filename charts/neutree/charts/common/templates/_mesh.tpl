{{/*
Service meshes. A proxy in a Job's pod keeps the Job from ever ending, and one before a container that accepts
connections refuses those of pods without a proxy, where mutual TLS is required.
*/}}

{{/* Labels of pods that get no proxy, as a YAML dict. Istio heeds a label, older versions the annotation. */}}
{{- define "common.noProxyLabels" -}}
sidecar.istio.io/inject: "false"
{{- end }}

{{/* Annotations of such pods, as a YAML dict. */}}
{{- define "common.noProxyAnnotations" -}}
sidecar.istio.io/inject: "false"
linkerd.io/inject: disabled
{{- end }}

{{/*
Annotations of a service's pods in a mesh, as a YAML dict. With them Linkerd's proxy also accepts connections without
TLS, as those of init containers, hooks, workspaces and users are. For Istio PeerAuthentications do this.
Usage: include "common.meshAnnotations" (list $ <facts of the service>)
*/}}
{{- define "common.meshAnnotations" -}}
{{- if and (index . 1).port (eq (index . 0).Values.global.mesh "linkerd") -}}
config.linkerd.io/default-inbound-policy: all-unauthenticated
{{- else -}}
{}
{{- end }}
{{- end }}

{{/*
User of an init container that connects to others: that of the mesh's proxy, whose connections are not sent to the
proxy, which does not run yet. Empty without a mesh. OpenShift chooses users itself.
*/}}
{{- define "common.meshUser" -}}
{{- if not .Values.global.openshift.enabled }}
{{- get (dict "istio" "1337" "linkerd" "2102") .Values.global.mesh }}
{{- end }}
{{- end }}

{{/*
Istio's proxy of a service accepts connections without TLS on its ports, as those of init containers and hooks are.
Takes an "app", what it "selects" and the ports of the service's pods.
*/}}
{{- define "common.peerAuthentication" -}}
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  {{- include "common.metadata" .app | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "common.selector" (dict "name" .selects) | nindent 6 }}
  portLevelMtls:
    {{- range .ports }}
    {{ . | quote }}:
      mode: PERMISSIVE
    {{- end }}
{{- end }}
