{{/* Names, labels and images. */}}

{{- define "breakwater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if contains $name $release }}{{ $release | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" $release $name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are selected. Takes root and component; without component those of all pods of the release. */}}
{{- define "breakwater.selector" -}}
app.kubernetes.io/name: breakwater
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of an object. Takes root and component. */}}
{{- define "breakwater.labels" -}}
{{ include "breakwater.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: breakwater
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name and labels of an object. Takes root, component and, if the name is another, name. */}}
{{- define "breakwater.metadata" -}}
name: {{ include "breakwater.fullname" .root }}-{{ default .component .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "breakwater.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of one of our images. Takes root and image. */}}
{{- define "breakwater.image" -}}
{{- $values := .root.Values.image -}}
{{- $path := list $values.registry $values.repositoryPrefix .image | compact | join "/" -}}
{{- with index $values.digests .image -}}
{{ printf "%s@%s" $path . }}
{{- else -}}
{{ printf "%s:%s" $path (default $.root.Chart.AppVersion $values.tag) }}
{{- end -}}
{{- end -}}

{{/* When our images are pulled: where nobody has said whose they are, not from the public registry, where anybody may own the name. */}}
{{- define "breakwater.pullPolicy" -}}
{{- $image := .Values.image -}}
{{- $isOwned := or $image.registry (ne $image.repositoryPrefix "breakwater") -}}
{{- default (ternary "IfNotPresent" "Never" (not (empty $isOwned))) $image.pullPolicy -}}
{{- end -}}

{{/* A number as text, whole ones without exponent; any other value as it is. */}}
{{- define "breakwater.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
