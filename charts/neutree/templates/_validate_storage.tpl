{{/* Contradictions about volumes, as a YAML list of sentences. */}}
{{- define "neutree.validate.storage" -}}
{{- $shared := .Values.global.storage.shared -}}
{{- $problems := list -}}
{{- $sources := list }}
{{- range $name, $set := dict "existingClaim" $shared.existingClaim "storageClass" $shared.storageClass "nfs.server" $shared.nfs.server "nodeLocal.enabled" $shared.nodeLocal.enabled }}
{{- if $set }}{{ $sources = append $sources $name }}{{ end }}
{{- end }}
{{- if gt (len $sources) 1 }}
{{- $problems = append $problems (printf "global.storage.shared takes its volume from %s at once: leave one of them" (join " and " (sortAlpha $sources))) }}
{{- end }}
{{- if and $shared.nfs.server (not (hasPrefix "/" $shared.nfs.path)) }}
{{- $problems = append $problems (printf "global.storage.shared.nfs.path %q is no path of an export: write it as /exports/nap" $shared.nfs.path) }}
{{- else if and $shared.nfs.path (not $shared.nfs.server) }}
{{- $problems = append $problems (printf "global.storage.shared.nfs.path %q belongs to no server: set global.storage.shared.nfs.server" $shared.nfs.path) }}
{{- end }}
{{- if not (regexMatch `^/[^/]+/` $shared.nodeLocal.path) }}
{{- $problems = append $problems (printf "global.storage.shared.nodeLocal.path %q must be a folder of its own on the node: write it as /var/lib/neutree/shared" $shared.nodeLocal.path) }}
{{- end }}
{{- if and $shared.nodeLocal.node (not $shared.nodeLocal.enabled) }}
{{- $problems = append $problems (printf "global.storage.shared.nodeLocal.node %q is not looked at: set nodeLocal.enabled" $shared.nodeLocal.node) }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}

{{/* What about volumes only the cluster can tell, where there is one to ask. A YAML list of sentences. */}}
{{- define "neutree.validate.volumes" -}}
{{- $problems := list -}}
{{- $source := include "common.sharedSource" . }}
{{- if has $source (list "nfs" "node") }}
{{- $name := include "common.clusterName" (list . "shared") }}
{{- with lookup "v1" "PersistentVolume" "" $name }}
{{- with include "neutree.owner" (list $ .) }}
{{- $problems = append $problems (printf "PersistentVolume %s exists already, made by %s: choose another global.namePrefix or another namespace" $name .) }}
{{- end }}
{{- if eq (dig "status" "phase" "" .) "Released" }}
{{- $problems = append $problems (printf "PersistentVolume %[1]s still belongs to a claim that was deleted; its files are there. To let the new claim have them: kubectl patch persistentvolume %[1]s --type json -p '[{\"op\":\"remove\",\"path\":\"/spec/claimRef/uid\"}]'" $name) }}
{{- end }}
{{- end }}
{{- else if eq $source "nfsClass" }}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (not (lookup "storage.k8s.io/v1" "CSIDriver" "" "nfs.csi.k8s.io")) }}
{{- $problems = append $problems "global.storage.shared.nfs.csi is true, but the cluster has no csi-driver-nfs (CSIDriver nfs.csi.k8s.io): install it, or set it to false" }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
