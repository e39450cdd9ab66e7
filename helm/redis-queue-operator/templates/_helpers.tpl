{{- /* Name of all objects of this release. */}}
{{- define "operator.name" -}}
{{ printf "%s-operator" (trimSuffix "-operator" .Release.Name) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Name of cluster-wide objects: two releases of one name may live in two namespaces. */}}
{{- define "operator.clusterName" -}}
{{ include "operator.name" . }}:{{ .Release.Namespace }}
{{- end }}

{{- /* What finds the operator's pods. A name such as 1234 or no is a text by toYaml alone. A Deployment's selector cannot be changed, so nothing else goes in here. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: redis-queue-operator
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- /* What finds the pod of `helm test`, and no selector of the operator does. */}}
{{- define "operator.testSelector" -}}
app.kubernetes.io/name: redis-queue-operator-test
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- /* Labels of an object: the release's own, over the commonLabels. */}}
{{- define "operator.labels" -}}
{{- $own := include "operator.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- toYaml (merge $own (default dict .Values.commonLabels) (dict "app.kubernetes.io/part-of" "redisqueue")) }}
{{- end }}

{{- /* Labels of the operator's pods: of these alone, since a new one rolls them out. */}}
{{- define "operator.podLabels" -}}
{{- toYaml (merge (include "operator.selector" . | fromYaml) (default dict .Values.podLabels) (default dict .Values.commonLabels)) }}
{{- end }}

{{- define "operator.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}
{{- .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}
{{- include "operator.name" . }}
{{- else }}
{{- fail "serviceAccount.name is empty: with serviceAccount.create=false it names the ServiceAccount that is there already" }}
{{- end }}
{{- end }}

{{- /* registry/repository:tag of (dict "image" values "default" version), or @digest in place of the tag. */}}
{{- define "operator.image" -}}
{{- with .image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .default }}{{ end }}
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

{{- /* What the operator does to RedisQueues and their workers; it deletes finished redrives and what it made itself, and lists no Secret. */}}
{{- define "operator.rules" -}}
# Serves RedisQueues: reads them, and takes its finalizer off one that is deleted.
- apiGroups: [redisqueue.dev]
  resources: [redisqueues]
  verbs: [get, list, watch, patch]
# Says in their status how things are.
- apiGroups: [redisqueue.dev]
  resources: [redisqueues/status, redisqueueredrives/status, redisqueuebudgets/status, redisqueueschedules/status]
  verbs: [patch]
# Carries out RedisQueueRedrives, and deletes finished ones when spec.ttlSecondsAfterFinished is over.
- apiGroups: [redisqueue.dev]
  resources: [redisqueueredrives]
  verbs: [get, list, watch, delete]
# Shares the workers of RedisQueueBudgets out.
- apiGroups: [redisqueue.dev]
  resources: [redisqueuebudgets]
  verbs: [get, list, watch]
# Enqueues the messages of RedisQueueSchedules.
- apiGroups: [redisqueue.dev]
  resources: [redisqueueschedules]
  verbs: [get, list, watch]
# Runs the workers: a Deployment for each RedisQueue, and one beside it while a new template is on trial.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Scales them.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# Tells the workers of a new template from those of the one before.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
# Sees which workers are ready, busy or dead, and marks the idle ones that are to go first.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# Reads the handlers that worker.source names, and keeps copies of them for the workers that mount them.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
# Reads the Secrets that a RedisQueue names for its Redis; without list and watch, no other can be found.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Keeps evictions from taking too many workers at once.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch, delete]
# Tells each change of the number of workers with its reason.
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

{{- /* What the chart itself tells the operator. */}}
{{- define "operator.environment" -}}
- name: REDISQUEUE_WORKER_IMAGE
  value: {{ include "operator.image" (dict "image" .Values.workerImage "default" .Chart.AppVersion) | quote }}
{{- with .Values.workerImage.pullSecrets }}
- name: REDISQUEUE_WORKER_IMAGE_PULL_SECRETS
  value: {{ join "," . | quote }}
{{- end }}
- name: REDISQUEUE_WATCH_NAMESPACES
  value: {{ include "operator.watchNamespaces" . | quote }}
- name: REDISQUEUE_WATCH_SELECTOR
  value: {{ .Values.watchSelector | quote }}
# The release's, whatever it watches: an upgrade that changes that has one leader all the time.
- name: REDISQUEUE_LEASE_NAME
  value: {{ include "operator.name" . }}
- name: REDISQUEUE_ALLOWED_REDIS_HOSTS
  value: {{ join "," .Values.allowedRedisHosts | quote }}
# The port that probes, Service and policies name.
- name: REDISQUEUE_HTTP_PORT
  value: "8080"
- name: REDISQUEUE_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- if .Values.page.enabled }}
- name: REDISQUEUE_PAGE_PORT
  value: {{ .Values.page.port | quote }}
- name: REDISQUEUE_PAGE_HOSTS
  value: {{ join "," .Values.page.hosts | quote }}
{{- end }}
- name: REDISQUEUE_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}

{{- /* Fails the render for what a schema cannot see: names that the chart has taken itself. */}}
{{- define "operator.checkNames" -}}
{{- if contains "." .Release.Name }}
{{- fail (printf "a release called %s would make the Service %s, and no Service has a '.' in its name: choose another name" .Release.Name (include "operator.name" .)) }}
{{- end }}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "service.labels" .Values.service.labels }}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- if hasKey (default dict $labels) $key }}
{{- fail (printf "%s: %s is the chart's own, by which the operator and its release are found: choose another label" $value $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- $taken := list }}
{{- range include "operator.environment" . | fromYamlArray }}
{{- $taken = append $taken .name }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if has .name $taken }}
{{- fail (printf "extraEnv: %s is there twice, or set by the chart from another value: use that one" .name) }}
{{- end }}
{{- $taken = append $taken .name }}
{{- end }}
{{- range .Values.extraVolumes }}
{{- if eq .name "tmp" }}
{{- fail "extraVolumes: tmp is the chart's own, an empty one for /tmp: choose another name" }}
{{- end }}
{{- end }}
{{- end }}
