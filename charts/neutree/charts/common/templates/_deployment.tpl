{{/*
Deployment of a service. Its facts say how it runs: image, port, probes, strategy, time to start and to end, and whether
it uses the database and so waits for it. Takes a dict:
  root            $
  service         name in the facts
  values          the service's values
  env             YAML list of its own variables; the database's address and trusted CA certificates are added
  volumes         list of volumes, each with its mountPath and readOnly
  container       dict of more fields of the container
  hostPort        true for a pod that also takes its port on its node
  pod             dict of more fields of the pod
  noProxy         true for a pod that no service mesh adds a proxy to
  sidecars        YAML list of containers after its own
  podMetadata     dict of more "labels" and "annotations" of the pod
*/}}
{{- define "common.deployment" -}}
{{- $facts := get (include "common.facts" . | fromJson).services .service -}}
{{- $name := include "common.serviceName" (list .root .service) -}}
{{- $app := dict "root" .root "name" $name "component" $facts.component -}}
{{- $more := .podMetadata | default dict -}}
{{- $mesh := include "common.meshAnnotations" (list .root $facts) | fromYaml -}}
{{- $annotations := merge dict ($more.annotations | default dict) (.noProxy | default false | ternary dict $mesh) -}}
{{- $user := hasKey .values "runAsUser" | ternary .values.runAsUser ($facts.user | default 1000) -}}
{{- $env := include "common.serviceEnv" (list .root $facts .env .values) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
spec:
  replicas: {{ .values.replicas | default 1 }}
  {{- with $facts.replace }}
  # {{ . }}
  {{- end }}
  strategy:
    {{- include "common.strategy" (list .root $facts) | nindent 4 }}
  {{- if $facts.connections }}
  {{- include "common.progressDeadline" .root | nindent 2 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "common.selector" $app | nindent 6 }}
  template:
    metadata:
      {{- include "common.podMetadata" (dict "app" $app "values" .values "labels" $more.labels "annotations" $annotations "noProxy" .noProxy) | nindent 6 }}
    spec:
      {{- include "common.pod" (dict "root" .root "name" $name "values" .values "automount" $facts.kubernetesAPI "user" $user "images" (list (include "common.image" (list .root $facts.image)))) | nindent 6 }}
      {{- with .pod }}{{ toYaml . | nindent 6 }}{{ end }}
      {{- with $facts.grace }}
      {{- with .why }}
      # {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .seconds }}
      {{- end }}
      {{- if $facts.connections }}
      initContainers:
        {{- include "common.wait" (list .root $facts) | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ $facts.container }}
          image: {{ include "common.image" (list .root $facts.image) }}
          {{- with include "common.imagePullPolicy" .root }}{{ nindent 10 . }}{{ end }}
          {{- with .container }}{{ toYaml . | nindent 10 }}{{ end }}
          {{- with $facts.port }}
          ports:
            - name: {{ $facts.portName }}
              containerPort: {{ . }}
              {{- if $.hostPort }}
              hostPort: {{ . }}
              {{- end }}
          {{- end }}
          {{- with include "common.env" (dict "base" $env "extra" .values.extraEnv) | fromYamlArray }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with include "common.probes" (list $facts .values) }}{{ nindent 10 . }}{{ end }}
          {{- with include "common.lifecycle" $facts }}
          lifecycle:
            {{- . | nindent 12 }}
          {{- end }}
          resources:
            {{- include "common.resources" .values.resources | nindent 12 }}
          securityContext:
            {{- include "common.containerSecurityContext" $facts | nindent 12 }}
          volumeMounts:
            {{- range .volumes }}{{ toYaml (list (pick . "name" "mountPath" "readOnly")) | nindent 12 }}{{ end }}
            {{- include "common.tmpMount" . | nindent 12 }}
            {{- with .values.extraVolumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
            {{- if $facts.trustedCAs }}{{ with include "common.trustMount" .root }}{{ nindent 12 . }}{{ end }}{{ end }}
            {{- if $facts.connections }}{{ with include "common.databaseMount" .root }}{{ nindent 12 . }}{{ end }}{{ end }}
            {{- with $facts.cache }}
            - name: {{ .volume }}
              mountPath: {{ .path }}
            {{- end }}
        {{- with .sidecars }}{{ nindent 8 . }}{{ end }}
      volumes:
        {{- range .volumes }}{{ toYaml (list (omit . "mountPath" "readOnly")) | nindent 8 }}{{ end }}
        {{- include "common.tmpVolume" . | nindent 8 }}
        {{- with .values.extraVolumes }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- if $facts.trustedCAs }}{{ with include "common.trustVolume" .root }}{{ nindent 8 . }}{{ end }}{{ end }}
        {{- if $facts.connections }}{{ with include "common.databaseVolume" (list .root "service") }}{{ nindent 8 . }}{{ end }}{{ end }}
        {{- with $facts.cache }}
        - name: {{ .volume }}
          emptyDir:
            sizeLimit: {{ $.values.cacheSize }}
        {{- end }}
{{- end }}

{{/*
Variables of a service, as a YAML list: those that all services of its kind need, and its own.
Usage: include "common.serviceEnv" (list $ <facts of the service> <YAML list> <its values>)
*/}}
{{- define "common.serviceEnv" -}}
{{- $root := index . 0 -}}
{{- $facts := index . 1 -}}
{{- $env := list -}}
{{- if $facts.connections }}
{{- $env = concat $env (include "common.databaseEnv" $root | fromYamlArray) }}
{{- end }}
{{- if $facts.trustedCAs }}
{{- $env = concat $env (include "common.trustEnv" $root | fromYamlArray) }}
{{- end }}
{{- $env = concat $env (include "common.proxyEnv" (list $root $facts (index . 3)) | default "[]" | fromYamlArray) -}}
{{- concat $env (index . 2 | default "[]" | fromYamlArray) | toYaml }}
{{- end }}
