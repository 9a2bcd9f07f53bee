"""The values of the Helm charts: which fields of the manifests they replace. Used by helm-chart.py."""

import re
from dataclasses import dataclass

STRING = {"type": "string"}
NAME = {"type": "string", "minLength": 1}
BOOLEAN = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
LIST = {"type": "array"}
MAP = {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": STRING}
NUMBER_OR_PERCENT = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]?%$|^100%$"}]}
DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
RESOURCES = {"type": "object", "additionalProperties": False, "properties": {"requests": MAP, "limits": MAP}}
# How kustomize labels its objects.
MANAGED_BY, VERSION = "app.kubernetes.io/managed-by", "app.kubernetes.io/version"


@dataclass
class Value:
    """A value of a chart."""

    name: str
    text: str
    schema: dict
    default: object


class Chart:
    """What both charts have in common."""

    constraints = {}
    alternatives = {}

    def __init__(self):
        self.found = []

    def value(self, name, text, schema, default):
        self.found.append(Value(name, text, schema, default))
        return f".Values.{name}"

    def get(self, made, kind, name):
        matching = [t for t in made if t.original["kind"] == kind and t.original["metadata"]["name"] == name]
        if len(matching) != 1:
            raise SystemExit(f"helm-chart.py: the manifests have {len(matching)} {kind} {name}")
        return matching[0]

    def common(self, template):
        metadata = template.item["metadata"]
        if MANAGED_BY in metadata.get("labels", {}):
            metadata["labels"][MANAGED_BY] = "Helm"
        if "namespace" in metadata:
            template.replace(("metadata", "namespace"), "scalar", ".Release.Namespace")

    def image(self, made, repository):
        name = self.name
        self.value("image.repository", "Image without its tag", NAME, repository)
        self.value("image.tag", "Tag, which is never moved; the version of the chart if empty", STRING, "")
        self.value("image.digest", "Digest (`sha256:…`), which then selects the image", STRING, "")
        policy = self.value("image.pullPolicy", "When the nodes pull the image",
                            {"enum": ["Always", "IfNotPresent", "Never"]}, "IfNotPresent")
        secrets = self.value("imagePullSecrets", "Secrets of the registry, as in a pod", LIST, [])
        for template, path in made:
            (container,) = template.default((*path, "spec", "containers"))
            at = (*path, "spec", "containers", f"[{container['name']}]")
            template.replace((*at, "image"), "scalar", f'include "{name}.image" . | toJson')
            template.replace((*at, "imagePullPolicy"), "scalar", f"{policy} | toJson")
            template.add((*path, "spec", "imagePullSecrets"), "optional", secrets)

    def scheduling(self, made):
        for name, text, schema in (
                ("nodeSelector", "Labels of the nodes that may run the pods", TEXTS),
                ("tolerations", "Taints that the pods tolerate", LIST),
                ("affinity", "Affinity of the pods", MAP),
                ("priorityClassName", "Priority class of the pods", STRING)):
            default = {"array": [], "object": {}, "string": ""}[schema["type"]]
            expression = self.value(name, text, schema, default)
            for template, path in made:
                template.add((*path, "spec", name), "optional", expression)
        context = made[0][0].default((*made[0][1], "spec", "securityContext"))
        expression = self.value(
            "podSecurityContext",
            "Security context of the pods. `null` removes a field: `runAsUser`, `runAsGroup` and `fsGroup` on OpenShift,"
            " which assigns them", MAP, context)
        for template, path in made:
            assert template.default((*path, "spec", "securityContext")) == context
            template.replace((*path, "spec", "securityContext"), "block", expression)

    def network_policies(self, made, prefix, texts):
        self.value("networkPolicy.enabled", "Whether NetworkPolicies are installed. They deny everything else", BOOLEAN, True)
        for template in made:
            item = template.original
            if item["kind"] == "NetworkPolicy" and item["metadata"]["name"].startswith(prefix):
                flow = item["metadata"]["name"].removeprefix(prefix)
                (direction,) = item["spec"].keys() & {"ingress", "egress"}
                name, text = texts[flow]
                expression = self.value(
                    f"networkPolicy.{name}", f"{text}: `{direction}` rules of a NetworkPolicy", LIST,
                    item["spec"][direction])
                template.replace(("spec", direction), "block", expression)

    helpers = """\
{{{{- define "{name}.tag" -}}}}
{{{{- .Values.image.tag | default .Chart.AppVersion }}}}
{{{{- end }}}}
{{{{- define "{name}.image" -}}}}
{{{{- .Values.image.repository }}}}:{{{{ include "{name}.tag" . }}}}{{{{ with .Values.image.digest }}}}@{{{{ . }}}}{{{{ end }}}}
{{{{- end }}}}
"""


class Service(Chart):
    """kustomize/base with its gateway and its monitoring."""

    name = "order-service"
    description = "An orders API: pods, autoscaling, migration, maintenance and network policies"
    namespace = "release-namespace"
    kustomization = {"resources": ["base"], "components": ["components/monitoring", "components/gateway"],
                     "namespace": namespace}
    # Without either, the service does not start.
    constraints = {"auth": {"anyOf": [{"properties": {name: NAME}} for name in ("secretName", "anonymous")]}}
    readme = """\
Installs the objects of kustomize/base. They have fixed names, so a namespace holds one release. The secrets are not
part of the chart: see docs/OPERATIONS.md and docs/ACCESS.md.

    helm install orders oci://registry.example.com/charts/order-service --namespace shop

Each image has its own migration Job. New pods are unready until it has finished, so do not use `--wait`
with a timeout below the time of your migrations. A changed setting creates another ConfigMap. The old ones stay, because
pods of the last version need them until the rollout is complete, and for `helm rollback`; delete them when you like.
"""
    helpers = Chart.helpers.format(name=name) + """\
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
"""

    def rename(self, text):
        return re.sub(r"^(configmap-order-service-config)-\w+|^(job-order-service-migrate)-[^/]+?(?=\.yaml)", r"\1\2", text)

    def common(self, template):
        super().common(template)
        for path in (("metadata",), ("spec", "template", "metadata"),
                     ("spec", "jobTemplate", "spec", "template", "metadata")):
            at = template.item
            for part in path:
                at = at.get(part, {}) if isinstance(at, dict) else {}
            if VERSION in at.get("labels", {}):
                template.replace((*path, "labels", VERSION), "scalar", 'include "order-service.tag" . | toJson')

    def condition(self, item):
        kind, name = item["kind"], item["metadata"]["name"]
        conditions = [
            ("autoscaling.enabled", kind == "HorizontalPodAutoscaler"),
            ("podDisruptionBudget.enabled", kind == "PodDisruptionBudget"),
            ("maintenance.enabled", kind == "CronJob"),
            ("networkPolicy.enabled", kind == "NetworkPolicy"),
            ("gateway.enabled", "gateway" in name or kind == "HTTPRoute"),
            ("monitoring.enabled", kind in ("PodMonitor", "PrometheusRule") or "dashboard" in name),
        ]
        found = [f".Values.{name}" for name, applies in conditions if applies]
        return f"and {' '.join(found)}" if len(found) > 1 else "".join(found)

    def text(self, template, text):
        if template.original["kind"] == "PrometheusRule":
            runbooks = self.runbooks(template)
            assert text.count(runbooks) > 10
            text = text.replace(runbooks, "{{ .Values.monitoring.runbooks }}")
        assert self.namespace not in text
        return text

    def values(self, made):
        self.found = []
        server = self.get(made, "Deployment", "order-service")
        (job,) = [t for t in made if t.original["kind"] == "Job"]
        cron = self.get(made, "CronJob", "order-service-maintain")
        pods = [(server, ("spec", "template")), (job, ("spec", "template")),
                (cron, ("spec", "jobTemplate", "spec", "template"))]
        container = ("spec", "template", "spec", "containers", "[order-service]")
        self.image(pods, server.default((*container, "image")).split(":")[0])
        job.replace(("metadata", "name"), "text", 'order-service-migrate-{{ include "order-service.migration" . }}')
        self.replicas(made, server)
        self.settings(made, server, cron, container)
        self.secrets(server, job, cron, container)
        budget = self.get(made, "PodDisruptionBudget", "order-service")
        self.value("podDisruptionBudget.enabled", "Whether evictions are limited", BOOLEAN, True)
        most = self.value("podDisruptionBudget.maxUnavailable", "The most pods that may be evicted at the same time",
                          NUMBER_OR_PERCENT, budget.default(("spec", "maxUnavailable")))
        budget.replace(("spec", "maxUnavailable"), "scalar", f"{most} | toJson")
        self.value("maintenance.enabled", "Whether `order-service maintain` runs daily", BOOLEAN, True)
        schedule = self.value("maintenance.schedule", "When it starts, in UTC", NAME, cron.default(("spec", "schedule")))
        cron.replace(("spec", "schedule"), "scalar", f"{schedule} | toJson")
        suspend = self.value("maintenance.suspend", "While true, no run starts", BOOLEAN, False)
        cron.add(("spec", "suspend"), "optional", suspend)
        self.network_policies(made, "order-service-allow-", {
            "dns": ("dns", "DNS"), "postgres": ("database", "The database"), "clients": ("clients", "Clients"),
            "metrics": ("metrics", "Scrapes"), "gateway": ("gateway", "The gateway, with `gateway.enabled`")})
        self.pods(server, pods)
        self.value("monitoring.enabled", "Whether PodMonitor, PrometheusRule and dashboard are installed", BOOLEAN, False)
        rule = self.get(made, "PrometheusRule", "order-service")
        self.value("monitoring.runbooks", "Address of your copy of docs/OPERATIONS.md, in alerts", NAME,
                   self.runbooks(rule))
        route = self.get(made, "HTTPRoute", "order-service")
        self.value("gateway.enabled", "Whether an HTTPRoute is installed", BOOLEAN, False)
        for name, text in (("parentRefs", "Gateways of the route"), ("hostnames", "Host names of the route")):
            expression = self.value(f"gateway.{name}", text, {**LIST, "minItems": 1}, route.default(("spec", name)))
            route.replace(("spec", name), "block", expression)
        return self.found

    def runbooks(self, rule):
        """The page to which all alerts point."""
        alerts = [alert for group in rule.original["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
        (page,) = {alert["annotations"]["runbook_url"].split("#")[0] for alert in alerts}
        return page

    def replicas(self, made, server):
        scaler = self.get(made, "HorizontalPodAutoscaler", "order-service")
        enabled = self.value("autoscaling.enabled", "Whether the number of pods follows their load", BOOLEAN, True)
        target = ("metrics", 0, "resource", "target", "averageUtilization")
        for name, path, text in (
                ("minReplicas", ("minReplicas",), "The fewest pods"),
                ("maxReplicas", ("maxReplicas",), "The most pods. Times `POOL_MAX_SIZE` below the connections of the database"),
                ("targetCPUUtilizationPercentage", target, "CPU utilization in percent of the request, which is not a limit")):
            expression = self.value(f"autoscaling.{name}", text, {"type": "integer", "minimum": 1},
                                    scaler.default(("spec", *path)))
            scaler.replace(("spec", *path), "scalar", f"{expression} | toJson")
        replicas = self.value("replicas", "Number of pods without autoscaling", COUNT, 2)
        server.add(("spec", "replicas"), "if", (f"not {enabled}", f"{replicas} | toJson"))

    def settings(self, made, server, cron, container):
        (config,) = [t for t in made if t.original["metadata"]["name"].startswith("order-service-config")]
        settings = self.value(
            "settings", "Settings (`order-service --help`) as environment variables",
            {"type": "object", "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"}, "additionalProperties": STRING},
            config.default(("data",)))
        name = '{{ include "order-service.config" . }}'
        config.replace(("data",), "block", settings)
        config.replace(("metadata", "name"), "text", name)
        config.item["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
        server.replace((*container, "envFrom", 0, "configMapRef", "name"), "text", name)
        at = ("spec", "jobTemplate", "spec", "template", "spec", "containers", "[maintain]")
        cron.replace((*at, "envFrom", 0, "configMapRef", "name"), "text", name)
        for value, variable, text in (
                ("drainDelay", "DRAIN_DELAY", "How long a terminating pod accepts connections. Longer if a load balancer with IP targets removes pods slowly"),
                ("shutdownTimeout", "SHUTDOWN_TIMEOUT", "How long requests in flight may take after the drain")):
            path = (*container, "env", f"[{variable}]", "value")
            expression = self.value(value, text, DURATION, server.default(path))
            server.replace(path, "scalar", f"{expression} | toJson")
        ready = ("spec", "minReadySeconds")
        expression = self.value("minReadySeconds", "How long a new pod must be ready to count as available", COUNT,
                                server.default(ready))
        server.replace(ready, "scalar", f"{expression} | toJson")
        grace = ("spec", "template", "spec", "terminationGracePeriodSeconds")
        expression = self.value("terminationGracePeriodSeconds", "At least `drainDelay` + `shutdownTimeout` + 20 s",
                                COUNT, server.default(grace))
        server.replace(grace, "scalar", f"{expression} | toJson")
        expression = self.value("resources", "Resources of the server; the CPU request also decides `WORKERS`", RESOURCES,
                                server.default((*container, "resources")))
        server.replace((*container, "resources"), "block", expression)

    def secrets(self, server, job, cron, container):
        volumes = ("spec", "template", "spec", "volumes")
        at = (*volumes, "[database-url]", "secret")
        secret = self.value("database.secretName", "Secret with the URL of the database", NAME,
                            server.default((*at, "secretName")))
        key = self.value("database.secretKey", "Key of the secret whose value is the URL", NAME,
                         server.default((*at, "items", 0, "key")))
        server.replace((*at, "secretName"), "scalar", f"{secret} | toJson")
        server.replace((*at, "items", 0, "key"), "scalar", f"{key} | toJson")
        owner = None
        for template, path in ((job, volumes), (cron, ("spec", "jobTemplate", *volumes))):
            sources = (*path, "[database-url]", "projected", "sources")
            template.replace((*sources, 0, "secret", "name"), "scalar", f"{secret} | toJson")
            template.replace((*sources, 0, "secret", "items", 0, "key"), "scalar", f"{key} | toJson")
            owner = owner or self.value(
                "migrations.secretName", "Secret with the `database-url` of the role that owns the tables, if it exists",
                NAME, template.default((*sources, 1, "secret", "name")))
            template.replace((*sources, 1, "secret", "name"), "scalar", f"{owner} | toJson")
        auth = self.value("auth.secretName", "Secret with the file of API keys and issuers; none if empty", STRING,
                          server.default((*volumes, "[auth]", "secret", "secretName")))
        server.replace((*volumes, "[auth]", "secret", "secretName"), "scalar", f"{auth} | toJson")
        for path in ((*volumes, "[auth]"), (*container, "volumeMounts", "[auth]"), (*container, "env", "[AUTH_FILE]")):
            server.wrap(path, auth)
        anonymous = self.value("auth.anonymous", "Scopes of requests without credentials (`AUTH_ANONYMOUS`)", STRING, "")
        server.append((*container, "env"), [
            "{{- with %s }}" % anonymous, "- name: AUTH_ANONYMOUS", "  value: {{ . | toJson }}", "{{- end }}"])

    def pods(self, server, pods):
        self.scheduling(pods)
        spread = ("spec", "template", "spec", "topologySpreadConstraints")
        expression = self.value("topologySpreadConstraints", "How the pods of the server spread", LIST, server.default(spread))
        server.replace(spread, "block", expression)
        expression = self.value("podAnnotations", "Further annotations of the pods of the server", TEXTS, {})
        server.add(("spec", "template", "metadata", "annotations", "further"), "lines", [
            "{{- with %s }}" % expression, "{{- toYaml . | nindent 8 }}", "{{- end }}"])


class Operator(Chart):
    """kustomize/operator with its monitoring."""

    name = "order-operator"
    description = "The operator of order-service, with its custom resource definition"
    namespace = "order-operator-system"
    kustomization = {"resources": ["operator"], "components": ["operator/components/monitoring"]}
    # Objects of these components that replace others.
    alternatives = {"operator/components/cilium": "CiliumNetworkPolicy"}
    helpers = Chart.helpers.format(name=name)
    readme = """\
Installs the objects of kustomize/operator into the namespace of the release, except the namespace itself. Label the
namespace for the restricted Pod Security Standard, as kustomize/operator/namespace.yaml does.

    helm install order-operator oci://registry.example.com/charts/order-operator \\
      --namespace order-operator-system --create-namespace

The custom resource definition is a template, so `helm upgrade` upgrades it, and is kept by `helm uninstall`, which
would otherwise delete every OrderService.

With `namespaced`, the operator works only in the namespace of the release and has no rights outside of it, so several
can be installed side by side. The custom resource definition and the roles for users are then not part of the release:
install them once, see kustomize/operator/components/namespaced.
"""

    def rename(self, text):
        return text

    def condition(self, item):
        kind, name = item["kind"], item["metadata"]["name"]
        if kind in ("PodMonitor", "PrometheusRule"):
            return ".Values.monitoring.enabled"
        if kind == "CiliumNetworkPolicy":
            return "and .Values.networkPolicy.enabled .Values.networkPolicy.cilium"
        if kind == "NetworkPolicy":
            # Where another program shares the namespace, the others are enough to isolate the operator.
            also = {"default-deny": " (not .Values.namespaced)",
                    "order-operator-allow-api-server": " (not .Values.networkPolicy.cilium)"}.get(name)
            return f"and .Values.networkPolicy.enabled{also}" if also else ".Values.networkPolicy.enabled"
        once_per_cluster = kind == "CustomResourceDefinition" or (kind == "ClusterRole" and name != "order-operator")
        return "not .Values.namespaced" if once_per_cluster else ""

    def text(self, template, text):
        return text.replace(self.namespace, "{{ .Release.Namespace }}")

    def values(self, made):
        self.found = []
        operator = self.get(made, "Deployment", "order-operator")
        pods = [(operator, ("spec", "template"))]
        container = ("spec", "template", "spec", "containers", "[order-operator]")
        self.image(pods, operator.default((*container, "image")).split(":")[0])
        replicas = self.value("replicas", "Number of pods, of which one leads", COUNT, operator.default(("spec", "replicas")))
        operator.replace(("spec", "replicas"), "scalar", f"{replicas} | toJson")
        resources = self.value("resources", "Resources of a pod", RESOURCES, operator.default((*container, "resources")))
        operator.replace((*container, "resources"), "block", resources)
        namespaced = self.value("namespaced", "Whether the operator works only in the namespace of the release", BOOLEAN, False)
        self.value("settings", "Further settings (`order-operator --help`) as environment variables",
                   {"type": "object", "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"}, "additionalProperties": STRING}, {})
        operator.append((*container, "env"), [
            "{{- if %s }}" % namespaced, "- name: WATCH_NAMESPACE", "  valueFrom:", "    fieldRef:",
            "      fieldPath: metadata.namespace", "- name: LEASE_NAME", "  value: order-operator", "{{- end }}",
            "{{- range $name, $value := .Values.settings }}", "- name: {{ $name }}", "  value: {{ $value | toJson }}",
            "{{- end }}"])
        for template, path in ((self.get(made, "ClusterRole", "order-operator"), ("kind",)),
                               (self.get(made, "ClusterRoleBinding", "order-operator"), ("kind",)),
                               (self.get(made, "ClusterRoleBinding", "order-operator"), ("roleRef", "kind"))):
            kind = template.default(path)
            template.replace(path, "text", "{{ if %s }}%s{{ else }}%s{{ end }}" % (
                namespaced, kind.removeprefix("Cluster"), kind))
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            self.get(made, kind, "order-operator").add(
                ("metadata", "namespace"), "if", (namespaced, ".Release.Namespace"))
        (crd,) = [t for t in made if t.original["kind"] == "CustomResourceDefinition"]
        crd.item["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
        self.network_policies(made, "order-operator-allow-", {
            "dns": ("dns", "DNS"), "api-server": ("apiServer", "The API server"), "metrics": ("metrics", "Scrapes")})
        self.value("networkPolicy.cilium", "Whether a CiliumNetworkPolicy admits the API server, instead of `apiServer`."
                   " Cilium never matches addresses against it", BOOLEAN, False)
        self.scheduling(pods)
        self.value("monitoring.enabled", "Whether PodMonitor and PrometheusRule are installed", BOOLEAN, False)
        return self.found
