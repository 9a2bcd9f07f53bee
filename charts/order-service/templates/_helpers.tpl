{{- define "order-service.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "order-service.image" -}}
{{- .Values.image.repository }}:{{ include "order-service.tag" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
{{- define "order-service.config" -}}
order-service-config-{{ .Values.settings | toJson | sha256sum | trunc 10 }}
{{- end }}
{{- /* A hash of everything in the template of the migration Job, which is immutable. Not the tag, because dots are not
valid in the host name of a pod. */}}
{{- define "order-service.migration" -}}
{{- $job := pick .Values "imagePullSecrets" "database" "migrations" "nodeSelector" "tolerations" "affinity"
  "priorityClassName" "podSecurityContext" }}
{{- list .Chart.Version (include "order-service.image" .) .Values.image.pullPolicy $job | toJson | sha256sum | trunc 10 }}
{{- end }}
