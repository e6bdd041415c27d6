{{/* The Secret that holds a user's name and password: dict root, store, user (a key of credentials.STORE). */}}
{{- define "platform.secret" -}}
{{- $credential := index .root.Values.credentials .store .user -}}
{{- default (printf "%s-%s-%s" (include "platform.fullname" .root) .store (kebabcase .user)) $credential.existingSecret -}}
{{- end }}

{{/* "yes" if a Redis user has a password: always in the bundled Redis, in an external one if values give one. */}}
{{- define "platform.redis.hasCredential" -}}
{{- $credential := index .root.Values.credentials.redis .user -}}
{{- if or .root.Values.redis.enabled $credential.existingSecret $credential.password }}yes{{ end -}}
{{- end }}

{{/*
The password of a Secret of ours, in base64: the one of the values, or the one that the cluster holds already, or a new
one. dict root, store, user.
*/}}
{{- define "platform.password" -}}
{{- $credential := index .root.Values.credentials .store .user -}}
{{- $held := lookup "v1" "Secret" .root.Release.Namespace (include "platform.secret" .) -}}
{{- if $credential.password -}}
{{ $credential.password | b64enc }}
{{- else if $held -}}
{{ $held.data.password }}
{{- else -}}
{{ randAlphaNum 32 | b64enc }}
{{- end -}}
{{- end }}
