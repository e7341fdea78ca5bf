"""The manifests as kustomize makes them, against Kubernetes' own schemas; and what they promise.

kustomize comes with kubectl; where neither is installed, all but the last tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: deploy/kubernetes was NOT checked")

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
NAME = {"app.kubernetes.io/name": "peerd"}
PORTS = {"link": 9101, "control": 9102, "metrics": 9103, "enrolment": 9104}
OPERATORS = {
    kind: schema
    for kind, schema in json.loads(
        (Path(__file__).parents[2] / "vectors" / "prometheus_operator.json").read_text()
    ).items()
    if kind != "source"
}
"""What the Prometheus operator takes, by kind."""
OURS = (
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "Service",
    "StatefulSet",
    "PodDisruptionBudget",
    "NetworkPolicy",
)


def kustomize() -> list[str]:
    for tool in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(tool[0]):
            return tool
    pytest.skip("neither kubectl nor kustomize is installed: deploy/kubernetes was NOT built")


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """Every object by its kind."""
    done = subprocess.run([*kustomize(), FOLDER], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    objects = list(yaml.safe_load_all(done.stdout))
    kinds = [thing["kind"] for thing in objects]
    assert len(kinds) == len(set(kinds))
    return dict(zip(kinds, objects, strict=True))


@pytest.fixture(scope="module")
def pod(built) -> dict[str, Any]:
    return built["StatefulSet"]["spec"]["template"]["spec"]


def test_kubernetes_knows_every_field(built):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: schemas were NOT checked"
    )
    assert set(built) == {*OURS, *OPERATORS}
    for kind in OURS:
        validate.validate(built[kind], "1.30", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**built["Service"], "spec": {"clusterIPs": "None"}}, "1.30", strict=True)


def strict(schema: Any) -> Any:
    """The same schema, with no other fields than those that it names."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return closed | {key: strict(part) for key, part in schema.items()}


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_prometheus_operator_knows_every_field(built, kind):
    jsonschema = pytest.importorskip("jsonschema", reason="comes with kubernetes-validate")
    schema = strict({**OPERATORS[kind], "properties": {**OPERATORS[kind]["properties"], "metadata": {}}})
    jsonschema.validate(built[kind], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**built[kind], "spec": {**built[kind]["spec"], "rules": []}}, schema)


def test_the_operators_rules_are_those_of_prometheus(built, promtool, tmp_path):
    made = runpy.run_path(str(FOLDER.parent / "prometheusrule.py"))
    assert made["FILE"].read_text() == made["render"](), "run `make rules`"
    groups = built["PrometheusRule"]["spec"]["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    assert "SUCCESS" in promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")


def test_a_scraped_pod_is_called_as_the_rules_and_dashboards_call_a_peer(built, promtool, tmp_path):
    """The relabelings of the operator (promcfg.go, generatePodMonitorConfig), then those of ours, as
    Prometheus does them."""
    operators = [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"target_label": "job", "replacement": "peerd/peerd"},
        {"target_label": "endpoint", "replacement": "metrics"},
    ]
    (endpoint,) = built["PodMonitor"]["spec"]["podMetricsEndpoints"]
    ours = [
        {re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", key): value for key, value in relabeling.items()}
        for relabeling in endpoint["relabelings"]
    ]
    pod = {"namespace": "peerd", "pod_container_name": "peerd", "pod_name": "peerd-3"}
    labels = {f"__meta_kubernetes_{key}": value for key, value in pod.items()}
    scrape = {
        "job_name": "podMonitor/peerd/peerd/0",
        "static_configs": [{"targets": ["10.0.0.1:9103"], "labels": labels}],
        "relabel_configs": [*operators, *ours],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    said = promtool(tmp_path, "check", "service-discovery", "prometheus.yml", scrape["job_name"])
    (target,) = json.loads(said)
    seen = {key: value for key, value in target["labels"].items() if not key.startswith("__")}
    assert (seen["job"], seen["instance"]) == ("peerd", "peerd-3")
    assert "peer" not in seen


def test_selectors_are_those_that_were_written(built):
    """kustomize can put labels into all of them, which would look for DNS among the peers."""
    assert built["StatefulSet"]["spec"]["selector"] == {"matchLabels": NAME}
    assert built["Service"]["spec"]["selector"] == NAME
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        assert built[kind]["spec"]["selector"] == {"matchLabels": NAME}
    assert built["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": NAME}
    labels = built["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert NAME.items() <= labels.items()


def test_who_may_speak_to_a_peer_and_to_whom_it_speaks(built):
    policy = built["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    peers = [{"podSelector": {"matchLabels": NAME}}]
    callers = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}
    assert callers == {
        "link": peers,
        "enrolment": peers,
        "control": [{"podSelector": {"matchLabels": {"peerd/operator": "true"}}}],
        "metrics": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }
    to_peers, to_dns = policy["egress"]
    assert to_peers["to"] == peers
    assert to_dns["to"][0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    assert {port["port"] for port in to_dns["ports"]} == {53}


def test_a_pod_may_do_nothing_on_its_node(built, pod):
    """The restricted standard, which the namespace enforces, and a root file system that is read only."""
    assert built["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert "cpu" not in container["resources"]["limits"]


def test_the_ports_are_those_of_the_configuration(built, pod):
    config = tomllib.loads(built["ConfigMap"]["data"]["peerd.toml"])
    assert {part: config[part]["listen"] for part in PORTS} == {p: f"0.0.0.0:{n}" for p, n in PORTS.items()}
    (peerd,) = pod["containers"]
    assert {port["name"]: port["containerPort"] for port in peerd["ports"]} == PORTS
    assert {port["name"]: port["port"] for port in built["Service"]["spec"]["ports"]} == PORTS
    (endpoint,) = built["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in PORTS


def test_the_probe_asks_where_nobody_needs_a_certificate(pod):
    (peerd,) = pod["containers"]
    state_dir = peerd["args"][peerd["args"].index("--state-dir") + 1]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert peerd[probe]["exec"]["command"] == ["peerd-probe", f"{state_dir}/control.sock"]


def test_names_stay_and_volumes_are_kept(built):
    spec = built["StatefulSet"]["spec"]
    assert spec["serviceName"] == built["Service"]["metadata"]["name"]
    assert built["Service"]["spec"]["clusterIP"] == "None"
    assert built["Service"]["spec"]["publishNotReadyAddresses"] is True
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in {
        m["name"] for m in spec["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert built["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_configuration_is_one_that_the_daemon_takes():
    from peerd.config import load

    assert load(FOLDER / "base" / "peerd.toml").logging.format == "json"


@pytest.fixture
def enrolled(tmp_path):
    """The init container's script with another root, and programs that write down how they were called."""
    script = (FOLDER / "base" / "enrol.sh").read_text()
    script = script.replace("/var/lib/peerd", str(tmp_path / "state")).replace(
        "=/join", f"={tmp_path / 'join'}"
    )
    for folder in ("state", "join", "bin"):
        (tmp_path / folder).mkdir()
    tool = tmp_path / "bin" / "peerd"
    tool.write_text(
        f"""#!/bin/sh
echo "$*" >> {tmp_path}/calls
case "$1" in
init) echo '{{}}' > {tmp_path}/state/identity.json ;;
join) [ "$4" != --token ] || cat >> {tmp_path}/calls; echo '{{}}' > {tmp_path}/state/bundle.json ;;
esac
"""
    )
    sleep = tmp_path / "bin" / "sleep"  # while it waits, the operator's secret arrives, or a token is used
    sleep.write_text(
        f"""#!/bin/sh
if [ -e {tmp_path}/by-token ]; then peerd join --state-dir {tmp_path}/state --token - <{tmp_path}/by-token
else echo bundle > {tmp_path}/join/peerd-3.bundle
fi
"""
    )
    named = tmp_path / "bin" / "hostname"
    named.write_text("#!/bin/sh\necho peerd-3\n")
    for program in (tool, sleep, named):
        program.chmod(0o755)

    def run() -> tuple[str, list[str]]:
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "NAMESPACE": "lab",
        }
        done = subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        calls = tmp_path / "calls"
        return done.stdout, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_a_new_pod_waits_for_its_bundle_and_one_that_has_it_asks_nobody(enrolled, tmp_path):
    said, calls = enrolled()
    assert "exec peerd-3 -c enrol -- cat" in said
    assert calls == [
        f"init --state-dir {tmp_path}/state --name peerd-3 --address peerd-3.peerd.lab.svc:9101",
        f"join --state-dir {tmp_path}/state {tmp_path}/join/peerd-3.bundle",
    ]
    (tmp_path / "calls").unlink()
    assert enrolled() == ("", [])


def test_a_pod_that_is_handed_a_token_goes_on_without_a_bundle(enrolled, tmp_path):
    (tmp_path / "by-token").write_text("peerd-join.secret\n")
    said, calls = enrolled()
    assert f"exec -i peerd-3 -c enrol -- peerd join --state-dir {tmp_path}/state --token -" in said
    assert calls[1:] == [f"join --state-dir {tmp_path}/state --token -", "peerd-join.secret"]


def test_no_pod_is_shown_the_token_of_another(pod, enrolled, tmp_path):
    """The secret is in every init container; nothing is taken from it but a bundle."""
    (tmp_path / "join" / "peerd-3.token").write_text("peerd-join.secret\n")
    _, calls = enrolled()
    assert calls[1:] == [f"join --state-dir {tmp_path}/state {tmp_path}/join/peerd-3.bundle"]
    (secret,) = [volume for volume in pod["volumes"] if "secret" in volume]
    assert secret["name"] not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
