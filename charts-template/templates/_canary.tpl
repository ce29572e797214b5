{{/*
One of the templates, rendered for the canary: of a list of the chart and the template's name. What it sees are the
chart's values with `canary.values` over them, and the key `canary`, by which the names and labels above tell the parts
apart.
*/}}
{{- define "nimify.forCanary" -}}
{{- $chart := first . -}}
{{- $canary := $chart.Values.canary -}}
{{- $values := deepCopy $chart.Values -}}
{{- include "nimify.overlay" (list $values $canary.values) -}}
{{- $_ := set $values "replicaCount" $canary.replicaCount -}}
{{- /* How many pods a canary has is said, not measured. */ -}}
{{- $_ := set $values.autoscaling "enabled" false -}}
{{- /* The way in from outside leads to the stable part's Service. */ -}}
{{- $_ := set $values.service "type" "ClusterIP" -}}
{{- $context := set (set (omit $chart "Values") "Values" $values) "canary" true -}}
{{- include (printf "%s/%s" $chart.Template.BasePath (last .)) $context -}}
{{- end -}}

{{/* Lays changes over values as helm does: mappings are merged, null takes a key away, all else is replaced. */}}
{{- define "nimify.overlay" -}}
{{- $values := first . -}}
{{- range $key, $change := last . -}}
{{- if kindIs "invalid" $change -}}
{{- $_ := unset $values $key -}}
{{- else if and (kindIs "map" $change) (kindIs "map" (get $values $key)) -}}
{{- include "nimify.overlay" (list (get $values $key) $change) -}}
{{- else -}}
{{- $_ := set $values $key $change -}}
{{- end -}}
{{- end -}}
{{- end -}}
