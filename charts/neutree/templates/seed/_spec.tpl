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
{{- if .Values.global.modules.browser.enabled }}
- name: BROWSER_OAUTH_REDIRECT_URI
  value: {{ printf "%s/api/auth/callback" (include "common.browserURL" .) | quote }}
{{- end }}
{{- if .Values.global.modules.sandbox.enabled }}
- name: SANDBOX_OAUTH_REDIRECT_URI
  value: {{ printf "%s/api/auth/callback" (include "common.sandboxURL" .) | quote }}
{{- end }}
- name: CP_SERVICE_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
{{- end }}
