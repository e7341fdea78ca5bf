"""The units by systemd's own tools, where they are installed, and what they promise by the daemon's code."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peerd.daemon import CLOSE_SECONDS
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError
from peerd.host.watch import LOOK_SECONDS

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNITS = ("peerd.service", "peerd@.service")
EXPOSURE = 1.5
"""Out of 10, as deploy/README.md says."""


def needs(tool: str):
    reason = f"{tool} is not installed: what deploy/systemd says was NOT checked by it"
    return pytest.mark.skipif(shutil.which(tool) is None, reason=reason)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Unit:
    def __init__(self, name: str) -> None:
        self.text = (FOLDER / name).read_text()
        parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(self.text)
        self.service = dict(parser["Service"])


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "min": 60}[unit]


@needs("systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(tmp_path, name):
    """It exits 0 with unknown keys, too: any word of it is a fault. The program is not installed here."""
    text = (FOLDER / name).read_text().replace("/opt/peerd/bin/peerd ", "/bin/true ")
    (tmp_path / name.replace("@", "@alice")).write_text(text)
    assert (
        run("systemd-analyze", "verify", "--man=no", f"./{name.replace('@', '@alice')}", cwd=tmp_path) == ""
    )
    (tmp_path / "bad.service").write_text(text.replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in run("systemd-analyze", "verify", "--man=no", "./bad.service", cwd=tmp_path)


@needs("systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_little_of_the_host_is_exposed(name):
    threshold = f"--threshold={round(EXPOSURE * 10)}"
    said = run("systemd-analyze", "security", "--offline=true", threshold, "--no-pager", FOLDER / name)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None
    assert float(found.group(1)) <= EXPOSURE


def test_the_template_is_the_unit_with_names():
    def lines(text: str) -> list[str]:
        return text[text.index("[Unit]") :].splitlines()

    one = Unit("peerd.service").text
    many = Unit("peerd@.service").text
    named = one.replace("Description=peerd,", "Description=peerd %i,")
    named = named.replace("/var/lib/peerd", "/var/lib/peerd/%i").replace(
        "/etc/peerd/peerd.toml", "/etc/peerd/%i.toml"
    )
    for folder in ("State", "Logs"):
        named = named.replace(f"{folder}Directory=peerd", f"{folder}Directory=peerd/%i")
    assert lines(many) == lines(named)


@pytest.mark.parametrize(("name", "folder"), [("peerd.service", "peerd"), ("peerd@.service", "peerd/%i")])
def test_there_is_a_folder_for_a_log_file_that_it_may_write(name, folder):
    service = Unit(name).service
    assert service["ProtectSystem"] == "strict"
    assert (service["LogsDirectory"], service["LogsDirectoryMode"]) == (folder, "0750")
    named = (FOLDER.parent / "peerd.toml").read_text()
    assert "/var/log/peerd/peerd.log" in named


def test_the_manual_that_the_units_name_is_made_and_installed(tmp_path):
    made = FOLDER.parent / "man.py"
    run(sys.executable, made, tmp_path)
    for name in UNITS:
        page, section = re.search(r"^Documentation=man:(\S+)\((\d)\)$", Unit(name).text, re.M).groups()
        assert (tmp_path / f"{page}.{section}").is_file()
    on_host = (FOLDER.parent / "install-host.sh").read_text()
    assert '"$here/man.py"' in on_host
    assert '"$here/man.py"' in (FOLDER.parent / "install.sh").read_text()


def test_its_patience_is_longer_than_the_daemons():
    service = Unit("peerd.service").service
    leaving = 10.0
    assert seconds(service["TimeoutStopSec"]) >= leaving + CLOSE_SECONDS + 10
    assert seconds(service["WatchdogSec"]) >= 2 * LOOK_SECONDS
    assert service["Type"] == "notify"


def test_what_another_start_does_not_mend_is_not_started_again():
    never = {int(code) for code in Unit("peerd.service").service["RestartPreventExitStatus"].split()}
    errors = (InvalidInputError, NotFoundError, ConflictError, DeniedError)
    assert never == {error.exit_code for error in errors}


def test_out_of_memory_the_trainer_goes_and_not_the_unit():
    assert Unit("peerd.service").service["OOMPolicy"] == "continue"


@needs("systemd-sysusers")
def test_the_user_is_made(tmp_path):
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.conf")
    (line,) = [
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("peerd:")
    ]
    assert line.endswith(":peerd, a peer daemon:/var/lib/peerd:/usr/sbin/nologin")


@needs("systemd-tmpfiles")
def test_the_folders_are_made(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\npeerd:x:990:991::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\npeerd:x:991:\n")
    run("systemd-tmpfiles", "--create", f"--root={tmp_path}", FOLDER / "tmpfiles.conf")
    assert (tmp_path / "var/lib/peerd").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "etc/peerd").is_dir()
    assert (tmp_path / "var/log/peerd").stat().st_mode & 0o777 == 0o750
