"""What other frameworks say while they work is not heard."""

import logging
import os
import sys
import warnings

import pytest

from tiemcli.exporters.silence import silence


def test_a_process_without_streams_is_silent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was started with them closed."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with silence():
        print("heard by nobody")


def test_what_converters_say_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither Python's nor what C++ writes past it; afterwards all is heard again."""
    with silence():
        print("from Python")
        print("an error", file=sys.stderr)
        os.write(1, b"from C++")
        os.write(2, b"an error of C++")
        logging.getLogger("torch").error("logged")
        warnings.warn("a warning", stacklevel=1)
    print("heard")
    assert capfd.readouterr() == ("heard\n", "")
