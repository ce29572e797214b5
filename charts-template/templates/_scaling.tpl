{{/* Why the number of pods can't follow the load as these values say; nothing where it can. */}}
{{- define "nimify.checkAutoscaling" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- $fewest := int $scaling.minReplicas -}}
{{- $keda := eq $scaling.scaler "keda" -}}
{{- $asks := or (int $scaling.targetQueueDepth) (include "nimify.nonzero" $scaling.targetLatency) -}}
{{- if lt (int $scaling.maxReplicas) $fewest -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- if and $keda $scaling.metrics -}}
{{- fail "autoscaling.metrics is for the scaler hpa: give keda its triggers in autoscaling.keda.triggers" -}}
{{- end -}}
{{- if not (or $asks (int $scaling.targetCpuPercent) (ternary $scaling.keda.triggers $scaling.metrics $keda)) -}}
{{- fail "autoscaling has nothing to go by: set targetCpuPercent, targetQueueDepth or targetLatency" -}}
{{- end -}}
{{- if and (int $scaling.targetCpuPercent) (or $keda (not $scaling.metrics)) (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{- fail "autoscaling.targetCpuPercent is a share of resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- if and $keda $asks (not $scaling.keda.serverAddress) -}}
{{- fail "autoscaling.keda.serverAddress is empty: name the Prometheus that KEDA asks for queue and latency" -}}
{{- end -}}
{{- if and (eq $fewest 0) (not $keda) -}}
{{- fail "autoscaling.minReplicas is 0, which the scaler hpa can't: take 1, or the scaler keda" -}}
{{- end -}}
{{- if and (eq $fewest 0) (not $scaling.keda.triggers) -}}
{{- fail "autoscaling.minReplicas is 0, and without a pod there is no queue that could bring one back: give autoscaling.keda.triggers something that sees requests before they reach a pod, such as the gateway's own metrics" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One question of KEDA to Prometheus, of a list of the values of autoscaling, the query and the threshold. */}}
{{- define "nimify.kedaQuery" -}}
metadata:
  serverAddress: {{ (index . 0).keda.serverAddress | quote }}
  query: {{ index . 1 | quote }}
  threshold: {{ index . 2 | quote }}
{{- with (index . 0).keda.authentication }}
authenticationRef:
  name: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A duration that isn't none; nothing where it is. */}}
{{- define "nimify.nonzero" -}}
{{- if regexMatch "[1-9]" . -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A duration in seconds, as Kubernetes writes a quantity. */}}
{{- define "nimify.secondsAsQuantity" -}}
{{- if hasSuffix "us" . -}}{{ trimSuffix "us" . }}u
{{- else if hasSuffix "ms" . -}}{{ trimSuffix "ms" . }}m
{{- else -}}{{ include "nimify.seconds" . }}
{{- end -}}
{{- end -}}

{{/* A duration in seconds, as a number. */}}
{{- define "nimify.secondsAsNumber" -}}
{{- if hasSuffix "us" . -}}{{ divf (trimSuffix "us" . | float64) 1000000.0 }}
{{- else if hasSuffix "ms" . -}}{{ divf (trimSuffix "ms" . | float64) 1000.0 }}
{{- else -}}{{ include "nimify.seconds" . }}
{{- end -}}
{{- end -}}
