"""CAA: what is permitted, what is issued, and what is set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from application_world import desk as opened_desk
from application_world import furnish, server_row
from fakes import ManualClock
from issuance_world import advance, copy_home, issuance, listed, make_csr, refused
from issuance_world import dns as dns_names
from name_server import US, ZONES, NameServer, name_servers

from issuance.caa import ISSUE, ISSUE_WILD
from issuance.caa_dns import DNSResolver
from issuance.caa_permission import REUSE, CAARefused, check_permission
from issuance.csr import decode_request
from issuance.errors import SetupRefused
from issuance.profile import CLIENT, SERVER, SMIME
from issuance.rule_set import RULE_SETS
from issuance.settings import Settings
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from application_world import Desk

    from issuance.caa_records import Records
    from issuance.core import Core

NOW = RULE_SETS[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    with name_servers(tmp_path_factory.mktemp("named")) as running:
        yield running


@pytest.fixture
def resolver(server: NameServer) -> DNSResolver:
    return DNSResolver(ManualClock(), ("127.0.0.1", server.port))


class Counting:
    """A resolver that remembers what it was asked."""

    def __init__(self, resolver: DNSResolver) -> None:
        self.asked: list[str] = []
        self._resolver = resolver

    def records(self, domain: str) -> Records:
        self.asked.append(domain)
        return self._resolver.records(domain)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    furnish(folder)
    return folder


@pytest.fixture
def desk(furnished: Path, tmp_path: Path, server: NameServer) -> Iterator[Desk]:
    """An officer's desk with CAA on."""
    with opened_desk(furnished, tmp_path) as opened:
        settings = Settings(caa_identities=["ca.example", US.upper()], caa_resolver=f"127.0.0.1:{server.port}")
        resolver = Counting(DNSResolver(opened.core.clock, settings.name_server))
        opened.core = replace(opened.core, settings=settings, resolver=resolver)
        yield opened


def permits(core: Core, *names: str) -> tuple[str, ...]:
    """The names that are refused."""
    try:
        check_permission(core, names, SERVER, NOW)
    except CAARefused as refusal:
        return refusal.names
    return ()


class TestPermissions:
    @pytest.mark.parametrize(
        ("name", "permitted"),
        [
            ("none.nothing.example.ac.jp", True),
            ("ours.example.ac.jp", True),
            ("www.ours.example.ac.jp", True),
            ("theirs.example.ac.jp", False),
            ("www.theirs.example.ac.jp", False),
            ("both.example.ac.jp", True),
            ("nobody.example.ac.jp", False),
            ("spaced.example.ac.jp", True),
            ("upper.example.ac.jp", True),
            ("upper-other.example.ac.jp", False),
            ("part.example.ac.jp", False),
            ("broken.example.ac.jp", False),
            ("reserved.example.ac.jp", True),
            ("critical.example.ac.jp", False),
            ("report.example.ac.jp", True),
            ("mailonly.example.ac.jp", True),
            ("wild.example.ac.jp", False),
            ("*.wild.example.ac.jp", True),
            ("a.wild.example.ac.jp", False),
            ("notwild.example.ac.jp", True),
            ("*.notwild.example.ac.jp", False),
            ("onlywild.example.ac.jp", True),
            ("*.onlywild.example.ac.jp", False),
            ("*.theirs.example.ac.jp", False),
            ("alias.example.ac.jp", False),
            ("below.ours-parent.example.ac.jp", True),
            ("below.theirs-parent.example.ac.jp", False),
            ("www.tree.example.ac.jp", False),
            ("chain0.example.ac.jp", False),
            ("www.closed.ac.jp", False),
            ("www.dead.ac.jp", False),
            ("bogus-alias.example.ac.jp", False),
        ],
    )
    def test_each_zone(self, desk: Desk, name: str, permitted: bool) -> None:
        assert permits(desk.core, name) == (() if permitted else (name,))
        check = desk.core.store.caa_check(name, ISSUE_WILD if name.startswith("*.") else ISSUE)
        assert check.permitted is permitted
        assert check.checked_at == desk.core.now()

    def test_every_name_is_looked_up_for_itself_and_every_failing_one_is_named(self, desk: Desk) -> None:
        """N names to be looked at again were once one name looked at N times (bugzilla 1619047)."""
        names = ["theirs.example.ac.jp", "ours.example.ac.jp", "www.dead.ac.jp", "nobody.example.ac.jp"]
        with pytest.raises(CAARefused) as refusal:
            check_permission(desk.core, names, SERVER, NOW)
        assert refusal.value.names == ("theirs.example.ac.jp", "www.dead.ac.jp", "nobody.example.ac.jp")
        assert "error 338" in str(refusal.value)
        assert "theirs.example.ac.jp: the CAA records name letsencrypt.org (at theirs." in str(refusal.value)
        for name in names:
            assert desk.core.store.caa_check(name, ISSUE).name == name

    def test_a_wildcard_and_its_domain_are_two_questions(self, desk: Desk) -> None:
        assert permits(desk.core, "wild.example.ac.jp", "*.wild.example.ac.jp") == ("wild.example.ac.jp",)
        assert permits(desk.core, "*.notwild.example.ac.jp", "notwild.example.ac.jp") == ("*.notwild.example.ac.jp",)

    def test_a_permission_holds_eight_hours_and_a_refusal_not_at_all(self, desk: Desk) -> None:
        resolver = desk.core.resolver
        assert isinstance(resolver, Counting)
        for name, again in (("ours.example.ac.jp", False), ("none.nothing.example.ac.jp", False)):
            permits(desk.core, name)
            resolver.asked.clear()
            advance(desk.core, REUSE - 1)
            assert permits(desk.core, name) == ()
            assert bool(resolver.asked) is again
            advance(desk.core, 1)
            assert permits(desk.core, name) == ()
            assert name in resolver.asked
        permits(desk.core, "theirs.example.ac.jp")
        resolver.asked.clear()
        permits(desk.core, "theirs.example.ac.jp")
        assert resolver.asked == ["theirs.example.ac.jp"]

    def test_a_permission_holds_as_long_as_dns_says_when_that_is_longer(self, desk: Desk) -> None:
        permits(desk.core, "ours.example.ac.jp")
        check = desk.core.store.caa_check("ours.example.ac.jp", ISSUE)
        assert (check.ttl, check.source) == (300, "ours.example.ac.jp")
        assert check.records == (f'0 issue "{US}"',)
        desk.core.store.add_caa_check(replace(check, ttl=REUSE * 2))
        resolver = desk.core.resolver
        assert isinstance(resolver, Counting)
        resolver.asked.clear()
        advance(desk.core, REUSE * 2 - 1)
        assert permits(desk.core, "ours.example.ac.jp") == ()
        assert not resolver.asked

    def test_mail_has_a_property_of_its_own_since_2025(self, desk: Desk) -> None:
        before = next(rules for rules in RULE_SETS if rules.name == "2023-09")
        for address, permitted in (
            ("a@mailours.example.ac.jp", True),
            ("a@mailonly.example.ac.jp", False),
            ("a@theirs.example.ac.jp", True),
            ("a@www.dead.ac.jp", False),
        ):
            check_permission(desk.core, [address], SMIME, before)
            if permitted:
                check_permission(desk.core, [address], SMIME, NOW)
                continue
            with pytest.raises(CAARefused):
                check_permission(desk.core, [address], SMIME, NOW)
        check_permission(desk.core, [], CLIENT, NOW)

    def test_strictly_silence_is_a_refusal(self, desk: Desk) -> None:
        core = replace(desk.core, settings=replace(desk.core.settings, caa_strict=True))
        assert permits(core, "report.example.ac.jp") == ("report.example.ac.jp",)
        assert permits(core, "none.nothing.example.ac.jp") == ()

    def test_nobody_to_ask_is_no_permission(self, desk: Desk) -> None:
        with pytest.raises(SetupRefused, match="no name server"):
            permits(replace(desk.core, resolver=None), "ours.example.ac.jp")


def serials(desk: Desk) -> set[int]:
    return {each.serial for each in desk.core.store.certificates()}


class TestIssuance:
    def test_a_refusal_takes_no_serial_and_says_338_with_the_names(self, desk: Desk) -> None:
        before = serials(desk)
        outcome = desk.one(server_row("theirs.example.ac.jp", names="ours.example.ac.jp,nobody.example.ac.jp"))
        assert (outcome.code, outcome.serial) == ("338", None)
        for sentence in (outcome.japanese, outcome.english):
            assert "theirs.example.ac.jp" in sentence
            assert "nobody.example.ac.jp" in sentence
            assert "ours.example.ac.jp," not in sentence
        assert serials(desk) == before

    def test_every_name_of_a_certificate_has_a_look_on_record(self, desk: Desk) -> None:
        hosts = ["www.ours.example.ac.jp", "both.example.ac.jp", "none.nothing.example.ac.jp", "*.wild.example.ac.jp"]
        outcome = desk.one(server_row(hosts[0], names=",".join(hosts[1:])))
        assert outcome.code == "0"
        for host in hosts:
            check = desk.core.store.caa_check(host, ISSUE_WILD if host[0] == "*" else ISSUE)
            assert check.permitted
            assert 0 <= desk.core.now() - check.checked_at < REUSE

    def test_a_denial_stops_every_way_to_a_signature(self, desk: Desk) -> None:
        """What was looked up was once thrown away (boulder 1231)."""
        before = serials(desk)
        request = decode_request(make_csr("p384", names=dns_names("ours.example.ac.jp", "theirs.example.ac.jp")))
        with pytest.raises(CAARefused):
            issue_from_request(desk.core, desk.core.store.issuer("server"), SERVER, request)
        assert desk.apply(server_row("theirs.example.ac.jp"), dry_run=True)[0].code == "338"
        assert desk.one(server_row("ours.example.ac.jp")).code == "0"
        assert len(serials(desk)) == len(before) + 1

    def test_a_dry_run_asks_and_records_nothing(self, desk: Desk) -> None:
        from ca_store.errors import NotFound  # noqa: PLC0415 - this test alone

        assert desk.apply(server_row("ours.example.ac.jp"), dry_run=True)[0].code == "0"
        with pytest.raises(NotFound):
            desk.core.store.caa_check("ours.example.ac.jp", ISSUE)

    def test_the_same_row_is_issued_once_dns_is_mended_and_the_refusal_stays_on_record(
        self, desk: Desk, server: NameServer
    ) -> None:
        row = server_row("www.changing.example.ac.jp")
        assert desk.one(row).code == "338"
        zone = ZONES["example.ac.jp"]
        server.change(
            "example.ac.jp", zone.replace('changing CAA 0 issue "letsencrypt.org"', f'changing CAA 0 issue "{US}"')
        )
        try:
            advance(desk.core, 61)
            assert desk.one(row).code == "0"
        finally:
            server.change("example.ac.jp", zone)
        events = [record.event for _, record in desk.core.store.audits()]
        assert events == ["issue refused", "issue accepted"]

    def test_the_commands(self, demo_home: Path, tmp_path: Path, server: NameServer) -> None:
        home = copy_home(demo_home, tmp_path)
        (tmp_path / "a.csr").write_bytes(make_csr("p384", common_name="theirs.example.ac.jp"))
        issue = ("cert", "issue", "--ca", "server-ecc", "--profile", "server", "--csr", tmp_path / "a.csr")
        assert "; CAA is off" in issuance(*issue, home=home).stderr
        toml = home / "responders.toml"
        text = toml.read_text().replace("caa = false", f'caa = true\ncaa_resolver = "127.0.0.1:{server.port}"')
        toml.write_text(text.replace("certs.nii.ac.jp", US))
        assert refused(*issue, home=home) == (
            "issuance: error 338: CAA does not permit theirs.example.ac.jp: the CAA records name letsencrypt.org"
            " (at theirs.example.ac.jp)"
        )
        (tmp_path / "b.csr").write_bytes(make_csr("p384", common_name="ours.example.ac.jp"))
        done = issuance(*issue[:-1], tmp_path / "b.csr", home=home)
        assert "; CAA is looked up" in done.stderr
        shown = listed("cert", "show", "--ca", "server-ecc", "--serial", done.stdout.strip(), home=home)
        assert shown["state"] == "good"


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"caa": 1}, "caa must be true or false"),
        ({"caa_strict": "no"}, "caa_strict must be true or false"),
        ({"caa_identities": "certs.nii.ac.jp"}, "caa_identities must be a list"),
        ({"caa_identities": []}, "with one at least"),
        ({"caa_identities": ["a b"]}, "'a b' is no domain name"),
        ({"caa_resolver": "localhost"}, "caa_resolver must be an address"),
        ({"caa_resolver": "127.0.0.1:x"}, "caa_resolver must be an address"),
        ({"caa_resolver": 53}, "caa_resolver must be an address"),
    ],
)
def test_wrong_settings_are_named(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(SetupRefused, match=sentence):
        Settings(**section)  # type: ignore[arg-type]  # what a file may hold
    assert Settings(caa_resolver="[::1]:5353").name_server == ("::1", 5353)
    assert Settings(caa_resolver="127.0.0.1").name_server == ("127.0.0.1", 53)
    assert Settings().name_server is None
