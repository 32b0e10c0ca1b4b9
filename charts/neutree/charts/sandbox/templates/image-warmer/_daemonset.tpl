{{/* DaemonSet that pulls images of sandboxes to every node. */}}
{{- define "sandbox.imageWarmer.daemonset" -}}
{{- $app := dict "root" $ "name" "sandbox-image-warmer" "component" "sandbox-image-warmer" -}}
{{- $images := .Values.imageWarmer.images -}}
{{- if .Values.global.modules.browser.enabled }}
{{- range (include "common.facts" . | fromJson).runtimeImages }}
{{- if eq .in "sandboxes" }}
{{- $images = append $images (get $.Values.global.images .image) }}
{{- end }}
{{- end }}
{{- end -}}
{{- $references := list -}}
{{- range $images -}}
{{- $references = append $references (include "common.imageRef" (list $ .)) -}}
{{- end -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "common.selector" $app | nindent 6 }}
  updateStrategy:
    rollingUpdate:
      # No one waits for these pods, and a registry is not asked by all nodes at once.
      maxUnavailable: 10%
  template:
    metadata:
      {{- include "common.podMetadata" (dict "app" $app "values" .Values.imageWarmer "noProxy" true) | nindent 6 }}
    spec:
      {{- include "common.pod" (dict "root" . "name" $app.name "values" .Values.imageWarmer "images" $references) | nindent 6 }}
      terminationGracePeriodSeconds: 5
      initContainers:
        {{- range $i, $image := $images }}
        - name: image-{{ $i }}
          image: {{ include "common.imageRef" (list $ $image) }}
          {{- with include "common.imagePullPolicy" $ }}{{ nindent 10 . }}{{ end }}
          command: ["true"]
          resources:
            {{- include "common.resources" $.Values.imageWarmer.resources | nindent 12 }}
          securityContext:
            {{- include "common.containerSecurityContext" $ | nindent 12 }}
        {{- end }}
      containers:
        - name: pause
          image: {{ include "common.image" (list . "pause") }}
          {{- with include "common.imagePullPolicy" . }}{{ nindent 10 . }}{{ end }}
          resources:
            {{- include "common.resources" .Values.imageWarmer.resources | nindent 12 }}
          securityContext:
            {{- include "common.containerSecurityContext" . | nindent 12 }}
{{- end }}
