{{/*
The control plane's own scripts, in order. They take the password as an argument only, so it is named here and put in
by nap-hooks: it stands in no object.
*/}}
{{- define "neutree.seed.spec" -}}
{{- $admin := list "node" "dist/seed-admin.js" "--username" "$(ADMIN_USERNAME)" "--password" "$(ADMIN_PASSWORD)" }}
{{- with .Values.global.admin.displayName }}
{{- $admin = concat $admin (list "--display-name" (include "common.literal" .)) }}
{{- end -}}
set: {{ include "common.migrationSet" . }}
# Addresses that the scripts write into the database. The Job has them as variables too.
inputs:
  {{- include "neutree.seed.inputs" . | nindent 2 }}
seeds:
  - name: admin
    command: {{ $admin | toJson }}
  {{- if .Values.global.modules.sandbox.enabled }}
  - name: oauth-clients
    command: [node, dist/seed-oauth-clients.js]
  {{- end }}
  - name: mcp-catalog
    command: [node, dist/seed-mcp-catalog-core.js]
{{- end }}

{{- define "neutree.seed.env" -}}
{{ include "neutree.bootstrap.env" . }}
{{ include "common.secretEnv" (list "ADMIN_USERNAME" (include "common.adminSecret" .) "username") }}
{{ include "common.secretEnv" (list "ADMIN_PASSWORD" (include "common.adminSecret" .) "password") }}
{{- range $name, $value := include "neutree.seed.inputs" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "neutree.seed.inputs" -}}
{{- if .Values.global.modules.browser.enabled -}}
BROWSER_OAUTH_REDIRECT_URI: {{ printf "%s/api/auth/callback" (include "common.browserURL" .) | quote }}
{{ end -}}
CP_SERVICE_URL: {{ include "common.serviceURL" (list . "cp") }}
{{- if .Values.global.modules.sandbox.enabled }}
SANDBOX_OAUTH_REDIRECT_URI: {{ printf "%s/api/auth/callback" (include "common.sandboxURL" .) | quote }}
{{- end }}
{{- end }}

{{/* What the scripts run with, as a dict for "common.jobSpec": two Jobs run them. */}}
{{- define "neutree.seed.run" -}}
timeout: {{ .Values.global.hooks.timeouts.seed }}
startSeconds: {{ add .Values.global.hooks.timeouts.start 600 }}
image: {{ include "common.image" (list . "controlPlane") | quote }}
resources: {{ .Values.global.hooks.seedResources | toJson }}
env: {{ include "neutree.seed.env" . | toJson }}
initContainers: {{ include "common.installHooks" . | toJson }}
{{- end }}

{{/* The Job by which the hook before an upgrade seeds what it has migrated. */}}
{{- define "neutree.seed.job" -}}
{{- $app := dict "root" $ "name" (include "common.name" (list $ "seed")) "component" "seed" -}}
{{- $objects := dict "configMap" (include "neutree.prepare.phase" .) "serviceAccount" (include "neutree.prepare.jobsAccount" .) "command" "seed" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $app.name }}
  labels:
    {{- include "common.labels" $app | nindent 4 }}
spec:
  # One that failed stays for its log, for a day.
  ttlSecondsAfterFinished: 86400
  {{- include "common.jobSpec" (merge $app $objects (include "neutree.seed.run" . | fromYaml)) | nindent 2 }}
{{- end }}

{{/*
Events of the Job after the main phase. An upgrade does without it where nothing can be left for it: the release is
complete, its seeds are those of before, and the hook before the upgrade runs what the database has no record of. ArgoCD
cannot ask the cluster, so it runs the Job, which finds nothing to do.
*/}}
{{- define "neutree.seed.events" -}}
{{- $record := printf "sh.helm.release.v1.%s.v%d" .Release.Name (int (sub .Release.Revision 1)) -}}
{{- $before := lookup "v1" "Secret" .Release.Namespace $record | default dict -}}
{{- $seeds := lookup "v1" "ConfigMap" .Release.Namespace (include "common.name" (list . "seed")) | default dict -}}
{{- $cp := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.name" (list . "cp")) | default dict -}}
{{- $complete := and (eq "deployed" (dig "metadata" "labels" "status" "" $before)) (dig "status" "readyReplicas" 0 $cp) -}}
{{- $same := eq (trim (include "neutree.seed.spec" .)) (dig "data" "seed.yaml" "" $seeds | trim) -}}
post-install
{{- if not (and .Release.IsUpgrade $complete $same) -}}
,post-upgrade
{{- end }}
{{- end }}
