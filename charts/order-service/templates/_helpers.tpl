{{- define "order-service.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "order-service.image" -}}
{{- .Values.image.repository }}:{{ include "order-service.tag" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
{{- define "order-service.config" -}}
order-service-config-{{ .Values.settings | toJson | sha256sum | trunc 10 }}
{{- end }}
