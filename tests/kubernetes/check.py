#!/usr/bin/env python3
"""check.py EXPORTER: deploy/kubernetes and the Helm chart, rendered by kubectl and helm and held against the schemas of Kubernetes,
the Prometheus operator, the exporter itself, and the files that they are made of. What is wrong, one line each."""
import json, socket, subprocess, sys, tempfile, time
from pathlib import Path

import kubernetes_validate, yaml
from cloudcoil.models.prometheus_operator import v1 as operator

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "target/tools/bin"
CHART = ROOT / "deploy/helm/portscan-exporter"
EXPORTER = sys.argv[1]
# The oldest that the chart says it runs on, and the newest that there are schemas for.
VERSIONS = ["1.25", "1.37"]
RULES = yaml.safe_load((ROOT / "alerts/portscan.rules.yml").read_text())
DASHBOARDS = {file: (ROOT / "grafana" / file).read_text() for file in ("portscan.json", "fleet.json")}
# bcrypt, of `secret`.
HASH = "$2b$05$QhZtQ4u22gJblqt/xOxujul14.spG4AbEqvrufVV5DncoA7WJG9uO"
wrong = []


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}{done.stdout}")
    return done.stdout


def template(*values):
    return run(TOOLS / "helm", "template", "scans", CHART, "--namespace=portscan", *values)


def validate(name, document):
    """Each resource by its own judge; an unknown key is a fault."""
    kind = document["kind"]
    if document["apiVersion"] == "monitoring.coreos.com/v1":
        model = getattr(operator, kind)
        try:
            known = json.loads(model.model_validate(document).model_dump_json(by_alias=True, exclude_unset=True))
        except ValueError as error:
            wrong.append(f"{name} {kind}: {error}")
            return
        # The model leaves out what it does not know.
        if known != document:
            wrong.append(f"{name} {kind}: {difference(document, known)}")
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            wrong.append(f"{name} {kind}, Kubernetes {version}: {str(error).splitlines()[0]}")


def difference(one, other, path="."):
    """Where two documents first differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return difference(one.get(key), other.get(key), f"{path}{key}.")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other)):
            if left != right:
                return difference(left, right, f"{path}{index}.")
    return f"{path} is {one!r:.200} and {other!r:.200}"


def resources(name, text):
    """The rendered resources, by kind; ConfigMaps by whether they hold dashboards."""
    found = {}
    for document in filter(None, yaml.safe_load_all(text)):
        validate(name, document)
        kind = document["kind"]
        if kind == "ConfigMap":
            kind = "dashboards" if "grafana_dashboard" in document["metadata"].get("labels", {}) else "config"
        if kind in found:
            wrong.append(f"{name}: two of {kind}")
        found[kind] = document
    return found


def accepted(name, found):
    """The exporter itself takes its flags and its configuration."""
    container = found["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    with tempfile.TemporaryDirectory() as directory:
        for file, text in found["config"]["data"].items():
            (Path(directory) / file).write_text(text)
        arguments = [word.replace("/etc/portscan_exporter", directory) for word in container["args"]]
        done = subprocess.run([EXPORTER, "--config.check", *arguments], capture_output=True, text=True)
        if done.returncode:
            wrong.append(f"{name}: {done.stderr}")


def pod(found):
    """The pod, without what a release names by itself."""
    spec = json.loads(json.dumps(found["DaemonSet"]["spec"]["template"]["spec"]))
    spec["volumes"][0]["configMap"]["name"] = "a name"
    container = spec["containers"][0]
    container.pop("imagePullPolicy", None)
    # The chart says the default, so that a value can change it.
    container["args"] = [word for word in container["args"] if word != "--web.listen-address=:10220"]
    return spec


def web_files(directory):
    """A web configuration with TLS and a password, and what a client shows."""
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2", "-subj",
                    "/CN=a", "-keyout", f"{directory}/server.key", "-out", f"{directory}/server.pem"], check=True, capture_output=True)
    # The password is `secret`.
    (directory / "web.yml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key}\nbasic_auth_users: {kubelet: " + HASH + "}\n")
    (directory / "client.yml").write_text("basic_auth: {username: kubelet, password: secret}\n")
    for file in directory.iterdir():
        file.chmod(0o644)
    directory.chmod(0o755)


def probed(name, found, password):
    """The exporter of a DaemonSet with TLS, as it runs, answers its probes; it refuses them where they do not show what it asks for."""
    container = found["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
    probes = [container[probe]["exec"]["command"] for probe in ("livenessProbe", "readinessProbe")]
    if any("httpGet" in container[probe] for probe in ("livenessProbe", "readinessProbe")):
        wrong.append(f"{name}: the kubelet asks beside the program")
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        directory, port = Path(directory), free.getsockname()[1]
        free.close()
        web_files(directory)
        for file, text in found["config"]["data"].items():
            (directory / file).write_text(text)
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        same(f"{name}: what is mounted", mounts, {"/etc/portscan_exporter", "/etc/portscan_exporter_web"})

        def here(words):
            words = [word.replace("/etc/portscan_exporter_web", str(directory)).replace("/etc/portscan_exporter", str(directory))
                     for word in words if not word.startswith("--web.listen-address")]
            return [*words, f"--web.listen-address=127.0.0.1:{port}"]

        with subprocess.Popen([EXPORTER, "-i", "lo", "--log.format=logfmt", *here(container["args"])], stderr=subprocess.PIPE,
                              text=True) as exporter:
            try:
                for probe in probes:
                    answer = ask([EXPORTER, *here(probe[1:])])
                    if answer.returncode if password else "password" not in answer.stderr:
                        wrong.append(f"{name}: {probe}: {answer.stderr}")
            finally:
                exporter.terminate()
                said = exporter.communicate()[1]
            if exporter.returncode:
                wrong.append(f"{name}: {said}")


def ask(command):
    """What it says, once somebody listens; within 30 s."""
    for _ in range(150):
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode == 0 or "password" in answer.stderr:
            break
        time.sleep(0.2)
    return answer


def words(rules):
    """The rules, each expression as its words: kustomize folds long ones anew, with other line ends."""
    rules = json.loads(json.dumps(rules))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = rule["expr"].split()
    return rules


def same(what, one, other):
    if one != other:
        wrong.append(f"{what}: {difference(one, other)}")


kustomized = resources("kustomize", run(TOOLS / "kubectl", "kustomize", ROOT / "deploy/kubernetes"))
charted = resources("helm", template())
for name, found in (("kustomize", kustomized), ("helm", charted)):
    accepted(name, found)
    same(f"{name}: the rules", words(found["PrometheusRule"]["spec"]), words(RULES))
    same(f"{name}: the dashboards", {file: json.loads(text) for file, text in found["dashboards"]["data"].items()},
         {file: json.loads(text) for file, text in DASHBOARDS.items()})
    # What kubectl keeps beside a resource that it applied is at most this long.
    if max(len(text) for text in found["dashboards"]["data"].values()) > 250_000:
        wrong.append(f"{name}: a dashboard is too long for a ConfigMap that is applied")
same("the pods of both", pod(kustomized), pod(charted))
same("the scrapes of both", {**kustomized["PodMonitor"]["spec"], "selector": 0}, {**charted["PodMonitor"]["spec"], "selector": 0})
same("the configurations of both", yaml.safe_load(kustomized["config"]["data"]["config.yml"]),
     yaml.safe_load(charted["config"]["data"]["config.yml"]))
if not kustomized["config"]["metadata"]["name"].startswith("portscan-exporter-"):
    wrong.append("kustomize: a changed configuration would not replace the pods")

# Everything that can be set.
full = resources("helm, all values", template(
    "--set=interfaces={eth0,eth1}", "--set=port=9999", "--set=extraArgs={--publish.hold=10m}", "--set=image.tag=x",
    "--set-json=config={\"detection\":{\"threshold\":30}}", "--set=priorityClassName=system-node-critical",
    "--set=imagePullSecrets[0].name=pull", "--set=nodeSelector.disk=ssd", "--set=podAnnotations.a=b",
    "--set=podMonitor.labels.release=r", "--set=prometheusRule.labels.release=r",
    "--set=prometheusRule.runbookUrl=https://wiki.example.org/portscan"))
accepted("helm, all values", full)
container = full["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]
same("all values: the flags", container["args"][1:], [
    "--web.listen-address=:9999", "--capture.interface=eth0", "--capture.interface=eth1", "--publish.hold=10m"])
same("all values: the port", container["ports"][0]["hostPort"], 9999)
text = json.dumps(full["PrometheusRule"])
if "file:///" in text or text.count("https://wiki.example.org/portscan/PortScanDetected.md") < 1:
    wrong.append("all values: the alerts do not link to prometheusRule.runbookUrl")
if full["DaemonSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"] == \
        charted["DaemonSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]:
    wrong.append("all values: a changed configuration would not replace the pods")
bare = resources("helm, no operator", template(
    "--set=podMonitor.enabled=false", "--set=prometheusRule.enabled=false", "--set=dashboards.enabled=false"))
same("no operator: what is left", sorted(bare), ["DaemonSet", "config"])
run(TOOLS / "helm", "lint", "--strict", CHART)

# TLS, and a password that only the chart's probes were told how to show.
kustomized = resources("kustomize, TLS", run(TOOLS / "kubectl", "kustomize", ROOT / "deploy/kubernetes-tls"))
endpoint = json.dumps({"scheme": "https", "tlsConfig": {"serverName": "portscan-exporter", "ca": {
    "secret": {"name": "portscan-exporter-web", "key": "server.pem"}}}})
charted = resources("helm, TLS", template("--set=web.secret=portscan-exporter-web", f"--set-json=podMonitor.endpoint={endpoint}"))
shown = resources("helm, a password", template("--set=web.secret=w", "--set=web.client=client.yml", "--set=port=9999"))
probed("kustomize, TLS", kustomized, False)
probed("helm, TLS", charted, False)
probed("helm, a password", shown, True)
same("the scrapes of both over TLS", {**kustomized["PodMonitor"]["spec"], "selector": 0}, {**charted["PodMonitor"]["spec"], "selector": 0})

print("\n".join(wrong))
sys.exit(bool(wrong))
