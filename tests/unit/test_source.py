from __future__ import annotations

from pathlib import Path

import pytest

from peerd.config import PeerdConfig
from peerd.errors import InvalidInputError, NotFoundError
from peerd.presets import PRESETS
from peerd.source import Source


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "peerd.toml"
    file.write_text('state_dir = "/s"\n[mixing]\npreset = "strong"\nloop_rate_per_second = 9.0\n'
                    '[logging]\nlevel = "warning"\nformat = "json"\n')  # fmt: skip
    loaded = Source(file, {"logging.level": "debug"}).load()
    config = loaded.config
    assert (config.logging.level, config.logging.format, config.state_dir) == ("debug", "json", "/s")
    assert config.mixing.loop_rate_per_second == 9.0
    assert config.mixing.mean_delay_seconds == PRESETS["strong"]["mean_delay_seconds"]
    for key, origin in {
        "logging.level": "option",
        "logging.format": "file",
        "logging.file": "default",
        "state_dir": "file",
        "mixing.loop_rate_per_second": "file",
        "mixing.mean_delay_seconds": "preset",
        "mixing.hops": "default",
    }.items():
        assert loaded.origin(key) == origin, key


def test_it_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "peerd.toml"
    file.write_text("[mixing]\nhops = 2")
    source = Source(file)
    assert source.load().config.mixing.hops == 2
    file.write_text("[mixing]\nhops = 4")
    assert source.load().config.mixing.hops == 4
    assert source.load().source is source
    file.unlink()
    with pytest.raises(NotFoundError, match="no such config file"):
        source.load()


def test_without_a_file_there_are_defaults_and_the_command_line() -> None:
    assert Source().load().config == PeerdConfig()
    assert Source(None, {"link.listen": "0.0.0.0:1"}).load().config.link.listen == "0.0.0.0:1"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("[mixing]\nhops = 0", {}, r"peerd\.toml: mixing\.hops: "),
        ("[link]\ndead_after_seconds = 0.5", {}, r"peerd\.toml: link\.dead_after_seconds: "),
        ("", {"logging.level": "loud"}, r"command line: logging\.level: "),
    ],
)
def test_mistakes_name_where_they_are(
    tmp_path: Path, text: str, options: dict[str, object], says: str
) -> None:
    file = tmp_path / "peerd.toml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        Source(file, options).load()
