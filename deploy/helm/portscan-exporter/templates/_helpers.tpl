{{- define "portscan.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "portscan.selector" -}}
app.kubernetes.io/name: portscan-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "portscan.labels" -}}
{{ include "portscan.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The program as a probe: over TLS, and with a password or a certificate. */}}
{{- define "portscan.health" -}}
- /usr/local/bin/portscan_exporter
- health
- --web.listen-address=127.0.0.1:{{ .Values.port }}
- --web.config.file=/etc/portscan_exporter_web/web.yml
{{- with .Values.web.client }}
- --http.config.file=/etc/portscan_exporter_web/{{ . }}
{{- end }}
{{- end }}
