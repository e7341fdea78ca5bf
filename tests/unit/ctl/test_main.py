from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ctl.main import main


def test_interrupted_while_it_loads_is_one_line_and_the_usual_code(monkeypatch, capsys) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ctl.cli", Loading("ctl.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "peerctl: interrupted\n"
