{{/*
The secrets that pods see, as JSON, each with the name of the Secret (`secret`), of its volume (`volume`) and, where the
Secrets Store CSI driver fetches it, of its class (`class`).
*/}}
{{- define "nimify.secrets" -}}
{{- $chart := . -}}
{{- $all := list -}}
{{- range $kind := list "existing" "external" "csi" -}}
{{- range $i, $given := get $chart.Values.secrets $kind -}}
{{- $secret := merge (dict "kind" $kind "volume" (printf "secret-%s-%d" $kind $i) "secret" $given.name) $given -}}
{{- if eq $kind "csi" -}}
{{- $name := include "nimify.secretClass" (list $chart $given) -}}
{{- $secret = set (set $secret "class" $name) "secret" $name -}}
{{- end -}}
{{- if and (eq $kind "existing") (empty $given.env) (empty $given.mountPath) -}}
{{- fail (printf "secrets.existing has %s, which nothing sees: give it env or mountPath" $given.name) -}}
{{- end -}}
{{- $all = append $all $secret -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "all" $all) -}}
{{- end -}}

{{/* The name of what the CSI driver is told of a secret: of a list of the chart and the secret. Both parts have it. */}}
{{- define "nimify.secretClass" -}}
{{- printf "%s-%s" (include "nimify.stableName" (first .)) (last .).name -}}
{{- end -}}

{{/* The variables that take them. */}}
{{- define "nimify.secretVariables" -}}
{{- range $secret := (include "nimify.secrets" . | fromJson).all }}
{{- range $name, $key := $secret.env }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.secret | quote }}
      key: {{ $key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volumes that hold them as files. */}}
{{- define "nimify.secretVolumes" -}}
{{- range $secret := (include "nimify.secrets" . | fromJson).all }}
{{- if $secret.class }}
- name: {{ $secret.volume }}
  csi:
    driver: secrets-store.csi.k8s.io
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ $secret.class | quote }}
{{- else if $secret.mountPath }}
- name: {{ $secret.volume }}
  secret:
    secretName: {{ $secret.secret | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where these are mounted: as folders, since a file in a subPath is never updated. */}}
{{- define "nimify.secretVolumeMounts" -}}
{{- range $secret := (include "nimify.secrets" . | fromJson).all }}
{{- if $secret.mountPath }}
- name: {{ $secret.volume }}
  mountPath: {{ $secret.mountPath | quote }}
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}
