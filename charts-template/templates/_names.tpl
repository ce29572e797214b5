{{/* The name of what runs: the chart's, unless it is replaced. */}}
{{- define "nimify.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the stable part's objects: release and chart, each once. */}}
{{- define "nimify.stableName" -}}
{{- $name := include "nimify.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The canary's, which leaves room for what is added to it. */}}
{{- define "nimify.canaryName" -}}
{{- printf "%s-canary" (include "nimify.stableName" . | trunc 51 | trimSuffix "-") -}}
{{- end -}}

{{/* The name of the objects of the part that is rendered: the stable one, or the canary. */}}
{{- define "nimify.fullname" -}}
{{- if hasKey . "canary" -}}{{ include "nimify.canaryName" . }}{{- else -}}{{ include "nimify.stableName" . }}{{- end -}}
{{- end -}}

{{/* The name of the service account, which both parts have. */}}
{{- define "nimify.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "nimify.stableName" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* A text made fit for the value of a label. */}}
{{- define "nimify.labelValue" -}}
{{- regexReplaceAll "[^A-Za-z0-9_.-]" . "_" | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{/*
What the pods of the part that is rendered are known by: component `server` for the stable one and `canary` for the
canary. It never changes between two versions of a release: the selector of a Deployment can't.
*/}}
{{- define "nimify.selectorLabels" -}}
{{ include "nimify.instanceLabels" . }}
app.kubernetes.io/component: {{ ternary "canary" "server" (hasKey . "canary") }}
{{- end -}}

{{/* What the pods of both parts are known by, and no others. */}}
{{- define "nimify.instanceLabels" -}}
app.kubernetes.io/name: {{ include "nimify.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* What the pods of `helm test` are known by: not by the labels above, so that no request is sent to them. */}}
{{- define "nimify.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "nimify.name" . | trunc 58 | trimSuffix "-") | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Labels that say which version of which model it is. A part's own, since a canary has another. */}}
{{- define "nimify.versionLabels" -}}
app.kubernetes.io/version: {{ include "nimify.labelValue" (.Values.image.version | default .Chart.AppVersion) | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{/* Labels that say where an object comes from. */}}
{{- define "nimify.originLabels" -}}
helm.sh/chart: {{ include "nimify.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version) | quote }}
{{ include "nimify.versionLabels" . }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "nimify.labels" -}}
{{- if .Values.commonLabels -}}
{{ include "nimify.labelsWith" (list . (dict)) }}
{{- else -}}
{{ include "nimify.ownLabels" . }}
{{- end -}}
{{- end -}}

{{/* The chart's own labels of every object. */}}
{{- define "nimify.ownLabels" -}}
{{ include "nimify.selectorLabels" . }}
{{ include "nimify.originLabels" . }}
{{- end -}}

{{/* Labels of an object together with the user's; the chart's own win, since others select by them. */}}
{{- define "nimify.labelsWith" -}}
{{- merge (include "nimify.ownLabels" (first .) | fromYaml) (last .) (first .).Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels of the pods. Without the chart's version: another chart that says the same starts no pods anew. */}}
{{- define "nimify.podLabels" -}}
{{- $own := printf "%s\n%s" (include "nimify.selectorLabels" .) (include "nimify.versionLabels" .) | fromYaml -}}
{{- merge $own .Values.podLabels .Values.commonLabels | toYaml -}}
{{- end -}}

{{/* The annotations of an object, its own before those of every object: of a list of the chart and its own. Nothing where there are none. */}}
{{- define "nimify.annotations" -}}
{{- with merge (dict) (last .) (first .).Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
