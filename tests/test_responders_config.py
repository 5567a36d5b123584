"""The configuration: complete without a single setting, refused with one sentence that names file and field."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ca_store.home import Home
from responders.config import Address, ConfigError, load_config, open_config, parse_address

FILE = Path("responders.toml")
UNIT = '[tsa.units.rsa]\npolicy = "2.999.3161.1"\n'


def test_everything_has_a_default() -> None:
    config = load_config({}, FILE)
    assert (config.server.listen, config.server.admin) == ("127.0.0.1:8080", "127.0.0.1:8081")
    assert config.ocsp.window == 3600
    assert config.tsa.units == {}


def test_sections_of_other_packages_are_left_alone() -> None:
    load_config({"database": {"whatever": 1}, "keys": {}, "issuance": {"base_url": "x"}}, FILE)


def test_the_only_unit_is_the_default() -> None:
    assert load_config(tomllib.loads(UNIT), FILE).tsa.default == "rsa"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[sever]", "responders.toml: [sever] is not a section known here"),
        ("server = 1", "responders.toml: server must be a section"),
        ("[server]\nlisten = 'nowhere'", "responders.toml: [server] listen is 'nowhere': it must be HOST:PORT"),
        ("[server]\nport = 80", "responders.toml: [server] port is not a setting known here"),
        ("[server]\nworkers = 0", "responders.toml: [server] workers is 0: it must lie between 1 and 1024"),
        ("[server]\nworkers = 'two'", "responders.toml: [server] workers: Expected `int | null`, got `str`"),
        ("[server]\nbody_seconds = true", "responders.toml: [server] body_seconds: Expected `float`, got `bool`"),
        ("[signing]\ndeadline = 0", "responders.toml: [signing] deadline is 0.0: it must lie between 0.01 and 60"),
        ("[ocsp]\nwindow = 0", "responders.toml: [ocsp] window is 0: it must lie between 1 and 302399"),
        ("[ocsp]\nwindw = 1", "responders.toml: [ocsp] windw is not a setting known here"),
        ("[tsa]\nserial_block = 0", "responders.toml: [tsa] serial_block is 0; it must be 1 to 4294967296"),
        (
            "[tsa]\ndefault_unit = 'x'",
            "responders.toml: [tsa] default_unit is 'x': there is no [tsa.units.x] for RFC 3161",
        ),
        (UNIT + UNIT.replace("rsa", "b"), "responders.toml: [tsa] default_unit is missing: there are several units"),
        ("[tsa.units.rsa]", "responders.toml: [tsa.units.rsa] policy is missing"),
        (
            UNIT + "accuracy_seconds = '1'",
            "responders.toml: [tsa.units.rsa] accuracy_seconds: Expected `float`, got `str`",
        ),
        (UNIT + "colour = 1", "responders.toml: [tsa.units.rsa] colour is not a setting known here"),
        ("[tsa]\nunits = 1", "responders.toml: [tsa] units must be sections [tsa.units.NAME]"),
        (
            UNIT.replace("rsa", "'a/b'"),
            "responders.toml: [tsa] units.a/b: a unit's name is part of its URL: letters, digits, - and _",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(tomllib.loads(text), FILE)
    assert str(refused.value) == sentence


def test_another_file_may_only_have_the_responders_sections(tmp_path: Path) -> None:
    (tmp_path / "responders.toml").write_text("[database]\nurl = 'sqlite:///ca.db'\n[server]\nworkers = 3\n")
    home = Home.open(tmp_path)
    assert open_config(home, None).server.workers == 3
    other = tmp_path / "other.toml"
    other.write_text("[server]\nworkers = 4\n")
    assert open_config(home, other).server.workers == 4
    other.write_text("[database]\nurl = 'sqlite:///other.db'\n")
    with pytest.raises(ConfigError, match=r"other\.toml: \[database\] must stand in .*responders\.toml"):
        open_config(home, other)
    other.write_text("[server\n")
    with pytest.raises(ConfigError, match=r"other\.toml is not TOML"):
        open_config(home, other)
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory"):
        open_config(home, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:80", Address("::1", 80)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host:", "host:65536", "host:-1", "host:٨"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(text)
