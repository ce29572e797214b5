{{/* The name of what runs: the chart's, unless it is replaced. */}}
{{- define "nimify.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects: release and chart, each once. */}}
{{- define "nimify.fullname" -}}
{{- $name := include "nimify.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of the service account. */}}
{{- define "nimify.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "nimify.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* A text made fit for the value of a label. */}}
{{- define "nimify.labelValue" -}}
{{- regexReplaceAll "[^A-Za-z0-9_.-]" . "_" | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{/* What the Service and the Deployment know the pods by; never changes between two versions of a release. */}}
{{- define "nimify.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nimify.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end -}}

{{/* What the pods of `helm test` are known by: not by the labels above, so that no request is sent to them. */}}
{{- define "nimify.testLabels" -}}
app.kubernetes.io/name: {{ include "nimify.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Labels that say where an object comes from. */}}
{{- define "nimify.originLabels" -}}
helm.sh/chart: {{ include "nimify.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version) | quote }}
app.kubernetes.io/version: {{ include "nimify.labelValue" .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "nimify.labels" -}}
{{ include "nimify.selectorLabels" . }}
{{ include "nimify.originLabels" . }}
{{- end -}}

{{/* Labels of an object together with the user's; the chart's own win, since others select by them. */}}
{{- define "nimify.labelsWith" -}}
{{- merge (include "nimify.labels" (first .) | fromYaml) (last .) | toYaml -}}
{{- end -}}
