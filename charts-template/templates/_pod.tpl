{{/* The image: by digest, or by tag where no digest is given. */}}
{{- define "nimify.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else if $image.tag -}}
{{- printf "%s:%s" $image.repository $image.tag -}}
{{- else -}}
{{- fail "image.digest and image.tag are both empty: set one of them" -}}
{{- end -}}
{{- end -}}

{{/* A count, or the word that leaves it open. */}}
{{- define "nimify.countOrAuto" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ int64 . }}{{- end -}}
{{- end -}}

{{/* A duration in whole seconds, rounded up. */}}
{{- define "nimify.seconds" -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $number := trimSuffix $unit . | int64 -}}
{{- if eq $unit "h" -}}{{ mul $number 3600 }}
{{- else if eq $unit "m" -}}{{ mul $number 60 }}
{{- else if eq $unit "s" -}}{{ $number }}
{{- else if eq $unit "ms" -}}{{ div (add $number 999) 1000 }}
{{- else -}}{{ div (add $number 999999) 1000000 }}
{{- end -}}
{{- end -}}

{{/* How long a stopping pod may take: what the service itself allows for, and time for the process to end. */}}
{{- define "nimify.gracePeriod" -}}
{{- $delay := include "nimify.seconds" .Values.server.drainDelay | int64 -}}
{{- $timeout := include "nimify.seconds" .Values.server.drainTimeout | int64 -}}
{{- add $delay $timeout 5 -}}
{{- end -}}

{{/*
When a rollout that doesn't get on counts as failed: after the time in which a pod may start. Before the start-up probe
begins, the node may have to be made, and image and model to be fetched.
*/}}
{{- define "nimify.progressDeadline" -}}
{{- if kindIs "string" .Values.progressDeadlineSeconds -}}
{{- $startup := 0 -}}
{{- with .Values.startupProbe -}}
{{- if .enabled -}}{{- $startup = mul .periodSeconds .failureThreshold -}}{{- end -}}
{{- end -}}
{{- max 600 (add (mul 2 $startup) 300 .Values.minReadySeconds) -}}
{{- else -}}
{{- int64 .Values.progressDeadlineSeconds -}}
{{- end -}}
{{- end -}}

{{/* One probe over HTTP, of a list of the chart and the probe. */}}
{{- define "nimify.probe" -}}
{{- $tls := (index . 0).Values.tls.secretName -}}
{{- with index . 1 -}}
httpGet:
  path: {{ .path | quote }}
  port: http
  {{- if $tls }}
  scheme: HTTPS
  {{- end }}
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end -}}
{{- end -}}

{{/* The volume of the certificate. */}}
{{- define "nimify.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ .Values.tls.secretName | quote }}
{{- end -}}

{{/* Where it is mounted: as a folder, since a file in a subPath is never updated. */}}
{{- define "nimify.tlsVolumeMount" -}}
- name: tls
  mountPath: /etc/nimify/tls
  readOnly: true
{{- end -}}

{{/* The volume of a model that is not in the image; nothing where it is. */}}
{{- define "nimify.modelVolume" -}}
{{- $model := .Values.model -}}
{{- if eq $model.source "imageVolume" -}}
- name: model
  image:
    reference: {{ required "model.image is empty: name the image with the model" $model.image | quote }}
    pullPolicy: {{ $model.pullPolicy }}
{{- else if eq $model.source "persistentVolumeClaim" -}}
- name: model
  persistentVolumeClaim:
    claimName: {{ required "model.claimName is empty: name the claim with the model" $model.claimName | quote }}
    readOnly: true
{{- else if eq $model.source "initContainer" -}}
- name: model
  emptyDir: {}
{{- end -}}
{{- end -}}

{{/* The folder in which it is mounted. */}}
{{- define "nimify.modelFolder" -}}
{{- $path := ternary "" .Values.model.path (eq .Values.model.source "initContainer") | trimAll "/" -}}
{{- if $path -}}{{ printf "/mnt/model/%s" $path }}{{- else -}}/mnt/model{{- end -}}
{{- end -}}

{{/* How many pods run at most. */}}
{{- define "nimify.mostReplicas" -}}
{{- if .Values.autoscaling.enabled -}}{{ .Values.autoscaling.maxReplicas }}{{- else -}}{{ .Values.replicaCount }}{{- end -}}
{{- end -}}

{{/* The name of the port that serves the metrics. */}}
{{- define "nimify.metricsPort" -}}
{{- if .Values.server.metricsPort -}}metrics{{- else -}}http{{- end -}}
{{- end -}}
