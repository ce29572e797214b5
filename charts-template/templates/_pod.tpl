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

{{/*
How long a stopping pod may take: what runs before the service is told, what the service itself allows for, and time for
the process to end.
*/}}
{{- define "nimify.gracePeriod" -}}
{{- $delay := include "nimify.seconds" .Values.server.drainDelay | int64 -}}
{{- $timeout := include "nimify.seconds" .Values.server.drainTimeout | int64 -}}
{{- $before := dig "preStop" "sleep" "seconds" 0 .Values.lifecycle | int64 -}}
{{- $needed := add $before $delay $timeout 5 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "string" $given -}}
{{- $needed -}}
{{- else if lt (int64 $given) (int64 $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is less than the %d that lifecycle.preStop, server.drainDelay and server.drainTimeout take with 5 to end: set it to auto" $needed) -}}
{{- else -}}
{{- int64 $given -}}
{{- end -}}
{{- end -}}

{{/* The user's containers, of a list of the chart and them: with the chart's security where they have none of their own. */}}
{{- define "nimify.extraContainers" -}}
{{- $security := (first .).Values.containerSecurityContext -}}
{{- $containers := list -}}
{{- range last . -}}
{{- /* `set` on a copy: `merge` would lay the user's over what others share. */ -}}
{{- if hasKey . "securityContext" -}}
{{- $containers = append $containers . -}}
{{- else -}}
{{- $containers = append $containers (set (deepCopy .) "securityContext" $security) -}}
{{- end -}}
{{- end -}}
{{- toYaml $containers -}}
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

{{/* Whether a container writes the model before the service starts; else nothing. */}}
{{- define "nimify.modelIsFetched" -}}
{{- $model := .Values.model -}}
{{- $fills := and (eq $model.source "persistentVolumeClaim") $model.initContainer.image -}}
{{- if or $fills (eq $model.source "initContainer") -}}true{{- end -}}
{{- end -}}

{{/* The claim with the model: one that exists, or the chart's, which both parts have. */}}
{{- define "nimify.claimName" -}}
{{- $model := .Values.model -}}
{{- if .Values.persistence.enabled -}}
{{- if $model.claimName -}}
{{- fail "persistence.enabled makes a claim, but model.claimName names another: set only one of them" -}}
{{- end -}}
{{- printf "%s-model" (include "nimify.stableName" . | trunc 57 | trimSuffix "-") -}}
{{- else -}}
{{- required "model.claimName is empty: name the claim with the model, or have one made by persistence.enabled" $model.claimName -}}
{{- end -}}
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
    claimName: {{ include "nimify.claimName" . | quote }}
    {{- if not (include "nimify.modelIsFetched" .) }}
    readOnly: true
    {{- end }}
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
