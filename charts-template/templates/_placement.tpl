{{/* Where the pods may run. */}}
{{- define "nimify.placement" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "nimify.tolerations" . | fromYamlArray }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "nimify.spread" . | fromYamlArray }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The user's own tolerations, those of nodes with GPUs and those of nodes that may be taken back. */}}
{{- define "nimify.tolerations" -}}
{{- $tolerations := .Values.tolerations -}}
{{- if int .Values.gpu.count -}}
{{- $tolerations = concat $tolerations .Values.gpu.tolerations -}}
{{- end -}}
{{- if .Values.spot.enabled -}}
{{- $tolerations = concat $tolerations .Values.spot.tolerations -}}
{{- end -}}
{{- toYaml $tolerations -}}
{{- end -}}

{{/*
How the pods spread. A rollout brings pods of another version, which are on their way out or in: by the hash of their
template the constraints count each version for itself.
*/}}
{{- define "nimify.spread" -}}
{{- $constraints := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $constraint := deepCopy . -}}
{{- if not (hasKey $constraint "labelSelector") -}}
{{- $labels := include "nimify.selectorLabels" $ | fromYaml -}}
{{- $own := dict "labelSelector" (dict "matchLabels" $labels) "matchLabelKeys" (list "pod-template-hash") -}}
{{- $constraint = merge $constraint $own -}}
{{- end -}}
{{- $constraints = append $constraints $constraint -}}
{{- end -}}
{{- toYaml $constraints -}}
{{- end -}}

{{/* What the service's container asks for and may take: GPUs are both at once, or Kubernetes refuses them. */}}
{{- define "nimify.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if int .Values.gpu.count -}}
{{- range $part := list "requests" "limits" -}}
{{- $amounts := get $resources $part | default dict -}}
{{- $_ := set $amounts $.Values.gpu.resourceName (int $.Values.gpu.count) -}}
{{- $_ := set $resources $part $amounts -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
