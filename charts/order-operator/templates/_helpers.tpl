{{- define "order-operator.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "order-operator.image" -}}
{{- .Values.image.repository }}:{{ include "order-operator.tag" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
