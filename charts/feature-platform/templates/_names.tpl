{{/* The beginning of every object's name. 36 characters leave room for the longest ending that Kubernetes allows. */}}
{{- define "platform.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a component: dict root, component. Never changes in the life of a release. */}}
{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "platform.labels" -}}
{{ include "platform.selector" . }}
app.kubernetes.io/part-of: feature-platform
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Name, namespace and labels of an object: dict root, component, name (without the beginning). */}}
{{- define "platform.metadata" -}}
name: {{ include "platform.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "platform.labels" . | nindent 2 }}
{{- end }}

{{/* The image of a component: dict root, values (with `image`). What a component leaves empty is the chart's own. */}}
{{- define "platform.image" -}}
{{- $own := .values.image -}}
{{- $shared := .root.Values.image -}}
{{- $tag := $own.tag | default (ternary "" $shared.tag (ne $own.repository "")) | default .root.Chart.AppVersion -}}
image: {{ printf "%s:%s" (default $shared.repository $own.repository) $tag | quote }}
imagePullPolicy: {{ default $shared.pullPolicy $own.pullPolicy }}
{{- end }}
