{{/* Whether something sends the canary its share of the requests by weight; else nothing. */}}
{{- define "nimify.weighted" -}}
{{- $nginx := and .Values.ingress.enabled (eq .Values.ingress.canary "nginx") -}}
{{- with .Values.gateway -}}
{{- if or .httpRoute.enabled .grpcRoute.enabled $.Values.istio.virtualService.enabled $nginx -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the rendered Service is that of both parts; else nothing. */}}
{{- define "nimify.sharesService" -}}
{{- if and .Values.canary.enabled (not (hasKey . "canary")) (not (include "nimify.weighted" .)) -}}true{{- end -}}
{{- end -}}

{{/* The Services that a route of the Gateway API leads to, each with its weight: of a list of the chart and the port. */}}
{{- define "nimify.backendRefs" -}}
{{- $chart := first . -}}
{{- $canary := $chart.Values.canary -}}
- name: {{ include "nimify.stableName" $chart }}
  port: {{ last . }}
  {{- if $canary.enabled }}
  weight: {{ sub 100 $canary.weight }}
- name: {{ include "nimify.canaryName" $chart }}
  port: {{ last . }}
  weight: {{ $canary.weight }}
  {{- end }}
{{- end -}}

{{/* The same for a route of Istio, which takes a Service's bare name for one of its own namespace. */}}
{{- define "nimify.destinations" -}}
{{- $chart := first . -}}
{{- $canary := $chart.Values.canary -}}
- destination:
    host: {{ include "nimify.stableName" $chart }}
    port:
      number: {{ last . }}
  {{- if $canary.enabled }}
  weight: {{ sub 100 $canary.weight }}
- destination:
    host: {{ include "nimify.canaryName" $chart }}
    port:
      number: {{ last . }}
  weight: {{ $canary.weight }}
  {{- end }}
{{- end -}}

{{/* What a route of the Gateway API begins with: of a list of the chart, the values and their path. */}}
{{- define "nimify.route" -}}
{{- $chart := index . 0 -}}
{{- $path := index . 2 -}}
{{- with index . 1 -}}
{{- if not .parentRefs -}}
{{- fail (printf "%s.parentRefs is empty: name the Gateway" $path) -}}
{{- end -}}
metadata:
  name: {{ include "nimify.fullname" $chart }}
  namespace: {{ $chart.Release.Namespace | quote }}
  labels:
    {{- include "nimify.labelsWith" (list $chart .labels) | nindent 4 }}
  {{- with include "nimify.annotations" (list $chart .annotations) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml .parentRefs | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}
