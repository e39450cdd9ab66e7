{{- /* Name of all objects of this release. */}}
{{- define "operator.name" -}}
{{ printf "%s-operator" (trimSuffix "-operator" .Release.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Name of cluster-wide objects: two releases of one name may live in two namespaces. */}}
{{- define "operator.clusterName" -}}
{{ include "operator.name" . }}:{{ .Release.Namespace }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: redis-queue-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: redisqueue
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* registry/repository:tag of (dict "image" values "default" version). */}}
{{- define "operator.image" -}}
{{ with .image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}:{{ .image.tag | default .default }}
{{- end }}

{{- /* The watched namespaces, with their templates filled in, as a comma-separated text. A name that came out empty
would mean all namespaces, with a ClusterRole that reads every Secret: nobody gets that by a misspelt value. */}}
{{- define "operator.watchNamespaces" -}}
{{- $names := list }}
{{- range .Values.watchNamespaces }}
{{- $name := tpl . $ }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" $name) }}
{{- fail (printf "watchNamespaces: %q is %q with its template filled in, which is no namespace's name: at most 63 of a-z, 0-9 and '-', with a letter or digit at both ends. For all namespaces write watchNamespaces: []" . $name) }}
{{- end }}
{{- $names = append $names $name }}
{{- end }}
{{- $names | uniq | join "," }}
{{- end }}

{{- /* "yes" when the object (dict "live" object "root" $) exists and does not belong to this release. */}}
{{- define "operator.foreign" -}}
{{- if .live }}
{{- $notes := .live.metadata.annotations | default dict }}
{{- $owner := printf "%s/%s" (get $notes "meta.helm.sh/release-namespace") (get $notes "meta.helm.sh/release-name") }}
{{- if ne $owner (printf "%s/%s" .root.Release.Namespace .root.Release.Name) }}yes{{ end }}
{{- end }}
{{- end }}

{{- /* What the operator does to RedisQueues and their workers; it deletes nothing but finished redrives, and lists no Secret. */}}
{{- define "operator.rules" -}}
- apiGroups: [redisqueue.dev]
  resources: [redisqueues]
  verbs: [get, list, watch, patch]
- apiGroups: [redisqueue.dev]
  resources: [redisqueues/status, redisqueueredrives/status]
  verbs: [patch]
- apiGroups: [redisqueue.dev]
  resources: [redisqueueredrives]
  verbs: [get, list, watch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* The container settings of the restricted Pod Security Standard. */}}
{{- define "operator.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}
