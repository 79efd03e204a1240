{{/* Labels of every object of the chart. */}}
{{- define "istio-manager.labels" -}}
app.kubernetes.io/instance: istio-operator-default
app.kubernetes.io/name: istio-operator
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
kyma-project.io/module: istio
{{- end }}

{{/* Labels by which the Deployment and the Service find the operator's pods; never to be changed. */}}
{{- define "istio-manager.selector" -}}
app.kubernetes.io/component: istio-operator.kyma-project.io
control-plane: controller-manager
{{- end }}

{{- define "istio-manager.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
