{{/* How Prometheus reaches the pods, the canary's too, of a list of the chart, the monitor and its kind. */}}
{{- define "nimify.scrape" -}}
{{- $top := first . -}}
{{- $name := include "nimify.fullname" $top -}}
port: {{ include "nimify.metricsPort" $top }}
path: /metrics
{{- if $top.Values.tls.secretName }}
scheme: https
tlsConfig:
  ca:
    secret:
      name: {{ $top.Values.tls.secretName | quote }}
      key: ca.crt
  serverName: {{ printf "%s.%s.svc" $name $top.Release.Namespace | quote }}
{{- end }}
interval: {{ (index . 1).interval }}
scrapeTimeout: {{ (index . 1).scrapeTimeout }}
# Rules and dashboards know the release by `job`, its pods by `instance`, and the canary's by `track`.
relabelings:
  {{- if eq (last .) "ServiceMonitor" }}
  # The stable part's Service may be that of the canary's pods too, which have one of their own: each pod counts once.
  - action: keep
    sourceLabels:
      - __meta_kubernetes_service_label_app_kubernetes_io_component
      - __meta_kubernetes_pod_label_app_kubernetes_io_component
    regex: server;server|canary;canary
  {{- end }}
  - action: replace
    targetLabel: job
    replacement: {{ $name }}
  - action: replace
    sourceLabels:
      - __meta_kubernetes_pod_name
    targetLabel: instance
  - action: replace
    targetLabel: track
    replacement: stable
  - action: replace
    sourceLabels:
      - __meta_kubernetes_pod_label_app_kubernetes_io_component
    regex: canary
    targetLabel: track
    replacement: canary
{{- end -}}

{{/* An amount of memory in bytes; nothing where it is none, or not written as one. */}}
{{- define "nimify.bytes" -}}
{{- $factors := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := ternary (. | toString) (. | int64 | toString) (kindIs "string" .) -}}
{{- if regexMatch "^[0-9]+([.][0-9]+)?([kMGT]|[KMGT]i)?$" $text -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- mulf (trimSuffix $unit $text | float64) (index $factors $unit | float64) | int64 -}}
{{- end -}}
{{- end -}}
