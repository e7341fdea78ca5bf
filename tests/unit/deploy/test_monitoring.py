"""The files of a monitoring host by the tools that read them. In use: tests/lab/test_monitoring.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
FOLDER = DEPLOY / "monitoring"
UNIT = "peerd-scrape@.service"


def needs(tool: str) -> pytest.MarkDecorator:
    reason = f"{tool} is not installed: what deploy/monitoring says was NOT checked by it"
    return pytest.mark.skipif(shutil.which(tool) is None, reason=reason)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=FOLDER)


def targets() -> dict[str, str]:
    """Address by name of the peer."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "peerd"
    return {
        entry["labels"]["instance"]: address
        for entry in job["static_configs"]
        for address in entry["targets"]
    }


def test_promtool_takes_the_configuration(promtool, tmp_path) -> None:
    text = (FOLDER / "prometheus.yml").read_text()
    rules = DEPLOY / "prometheus" / "rules"
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/peerd/", f"{rules}/"))
    assert "2 rule files found" in promtool(tmp_path, "check", "config", "prometheus.yml")


@needs("ssh")
def test_every_target_is_a_forward_to_a_peers_loopback() -> None:
    hosts = re.findall(r"^Host (\w+)$", (FOLDER / "ssh_config").read_text(), re.MULTILINE)
    forwards = {}
    for host in hosts:
        done = run("ssh", "-G", "-F", FOLDER / "ssh_config", host)
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert (said["user"], said["batchmode"], said["exitonforwardfailure"]) == (
            "peerd-scrape",
            "yes",
            "yes",
        )
        assert said["stricthostkeychecking"] in ("true", "yes")
        here, there = re.fullmatch(r"\[(\S+)\]:(\d+) \[127\.0\.0\.1\]:9103", said["localforward"]).groups()
        forwards[host] = f"{here}:{there}"
    assert forwards == targets()
    assert {address.split(":")[0] for address in forwards.values()} == {"127.0.0.1"}


@needs("systemd-analyze")
def test_systemd_understands_every_line_and_little_is_exposed(tmp_path) -> None:
    """It exits 0 with unknown keys, too: any word of it is a fault."""
    text = (FOLDER / UNIT).read_text().replace("/usr/bin/ssh ", "/bin/true ")
    unit = tmp_path / UNIT.replace("@", "@alice")
    unit.write_text(text.replace("User=prometheus", "User=daemon"))  # that comes with Debian's Prometheus
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", FOLDER / UNIT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a public key"),
        (["PRIVATE"], "name a public key"),
        (["ssh-ed25519 AAAA\nssh-ed25519 BBBB"], "one public key"),
        (["ssh-ed25519 AAAA", "9103\nForceCommand /bin/sh"], "no port"),
    ],
)
def test_a_key_or_port_that_is_none_changes_nothing(arguments, says) -> None:
    # Whatever it takes for good: with this PATH it can run nothing.
    done = run("env", "PATH=/nowhere", shutil.which("sh"), FOLDER / "allow-scrape.sh", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
