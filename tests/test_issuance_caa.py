"""CAA: what records permit, where they are found on a real name server, and that nothing is issued against them."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dns.message import from_wire, make_response
from dns.rrset import from_text
from fakes import ManualClock
from hypothesis import given
from hypothesis import strategies as st
from name_server import US, NameServer, name_servers

from issuance.caa import ISSUE, ISSUE_MAIL, ISSUE_WILD, Policy, Property, issuer_domain, judge
from issuance.caa_dns import DNSResolver
from issuance.caa_records import Found, LookUpFailed, Records, relevant
from issuance.rule_set import RULE_SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = RULE_SETS[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    with name_servers(tmp_path_factory.mktemp("named")) as running:
        yield running


@pytest.fixture
def resolver(server: NameServer) -> DNSResolver:
    return DNSResolver(ManualClock(), ("127.0.0.1", server.port))


POLICY = Policy(frozenset({US}))

pytestmark = pytest.mark.interop("named")


class TestValues:
    @pytest.mark.parametrize(
        ("value", "domain"),
        [
            ("ca.example", "ca.example"),
            ("CA.Example", "ca.example"),
            ("  ca.example ; a=b", "ca.example"),
            ("ca.example;a=b;c=d", "ca.example"),
            ("ca.example; a = b ; c = d ", "ca.example"),
            ("ca.example;", "ca.example"),
            ("ca.example ; a=", "ca.example"),
            ("\tca.example\t", "ca.example"),
            (";", ""),
            ("", ""),
            ("  ;  ", ""),
            ("; a=b", ""),
            ("ca--1.example", "ca--1.example"),
            ("ca.example.", None),
            ("-ca.example", None),
            ("ca-.example", None),
            ("ca..example", None),
            ("ca.example other.example", None),
            ("ca.example,other.example", None),
            ("ca.example; a b", None),
            ("ca.example; =b", None),
            ("ca.example; a=b c", None),
            ("ca.example a=b", None),
            ("ca_1.example", None),
            ("caf\xe9.example", None),
        ],
    )
    def test_issue_values(self, value: str, domain: str | None) -> None:
        """RFC 8659 §4.2."""
        assert issuer_domain(value) == domain

    @given(st.text(alphabet='ca.;=- \t"b', max_size=60))
    def test_whatever_stands_there_it_names_us_in_full_or_not_at_all(self, value: str) -> None:
        domain = issuer_domain(value)
        assert domain is None or domain == value.partition(";")[0].strip(" \t")

    def test_a_long_value_is_read_in_time(self) -> None:
        assert issuer_domain("a" * 50_000 + "-") is None
        assert issuer_domain("a;" + "b=c;" * 20_000 + "!") is None


class TestVerdicts:
    @pytest.mark.parametrize(
        ("properties", "tag", "permitted"),
        [
            ([], ISSUE, True),
            ([(0, "issue", US)], ISSUE, True),
            ([(0, "issue", "other.example")], ISSUE, False),
            ([(0, "issue", "other.example"), (0, "issue", US)], ISSUE, True),
            ([(0, "issue", ";")], ISSUE, False),
            ([(0, "issue", "")], ISSUE, False),
            ([(0, "issue", f"sub.{US}")], ISSUE, False),
            ([(0, "issue", US.partition(".")[2])], ISSUE, False),
            ([(0, "issue", f"{US} is ours")], ISSUE, False),
            ([(0, "issue", f"{US} is ours"), (0, "issue", US)], ISSUE, True),
            ([(0, "Issue", "other.example")], ISSUE, False),
            ([(0, "ISSUEWILD", "other.example")], ISSUE_WILD, False),
            ([(0, "tbs", "x")], ISSUE, True),
            ([(128, "tbs", "x")], ISSUE, False),
            ([(128, "tbs", "x"), (0, "issue", US)], ISSUE, False),
            ([(1, "tbs", "x"), (0, "issue", US)], ISSUE, True),
            ([(127, "tbs", "x")], ISSUE, True),
            ([(255, "tbs", "x")], ISSUE, False),
            ([(128, "iodef", "mailto:a@b.jp")], ISSUE, True),
            ([(128, "issuemail", ";")], ISSUE, True),
            ([(128, "issuevmc", ";")], ISSUE, True),
            ([(128, "issue", US)], ISSUE, True),
            ([(128, "issue", "other.example")], ISSUE, False),
            ([(0, "iodef", "mailto:a@b.jp")], ISSUE, True),
            ([(0, "issuewild", ";")], ISSUE, True),
            ([(0, "issuewild", ";")], ISSUE_WILD, False),
            ([(0, "issuewild", US)], ISSUE_WILD, True),
            ([(0, "issue", US)], ISSUE_WILD, True),
            ([(0, "issue", "other.example")], ISSUE_WILD, False),
            ([(0, "issue", US), (0, "issuewild", "other.example")], ISSUE_WILD, False),
            ([(0, "issue", "other.example"), (0, "issuewild", US)], ISSUE_WILD, True),
            ([(0, "issue", "other.example"), (0, "issuewild", US)], ISSUE, False),
            ([(0, "issue", ";")], ISSUE_MAIL, True),
            ([(0, "issuemail", ";")], ISSUE_MAIL, False),
            ([(0, "issuemail", US)], ISSUE_MAIL, True),
        ],
    )
    def test_a_set_of_records(self, properties: list[tuple[int, str, str]], tag: str, permitted: bool) -> None:
        """RFC 8659 §4.1 to §4.3, RFC 9495 §3."""
        assert judge([Property(*each) for each in properties], tag, POLICY).permitted is permitted

    def test_strictly_records_that_are_there_must_name_us(self) -> None:
        strict = replace(POLICY, strict=True)
        silent = [Property(0, "iodef", "mailto:a@b.jp")]
        assert judge(silent, ISSUE, POLICY).permitted
        assert not judge(silent, ISSUE, strict).permitted
        assert judge([], ISSUE, strict).permitted


def found(resolver: DNSResolver, name: str) -> Found:
    return relevant(resolver, name, ManualClock())


class TestLookUps:
    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("ours.example.ac.jp", "ours.example.ac.jp"),
            ("deep.down.ours.example.ac.jp", "ours.example.ac.jp"),
            ("none.nothing.example.ac.jp", None),
            ("nothing.example.ac.jp", None),
            ("nowhere.example.ac.jp", None),
            ("anything.wildcard.example.ac.jp", None),
            ("www.nowhere.test", None),
            ("alias.example.ac.jp", "alias.example.ac.jp"),
            ("empty-alias.example.ac.jp", None),
            ("lost-alias.example.ac.jp", None),
            ("below.theirs-parent.example.ac.jp", "theirs-parent.example.ac.jp"),
            ("www.tree.example.ac.jp", "www.tree.example.ac.jp"),
            ("*.ours.example.ac.jp", "ours.example.ac.jp"),
            ("a.b.c.closed.ac.jp", "closed.ac.jp"),
            ("chain0.example.ac.jp", "chain0.example.ac.jp"),
            (".".join(["a"] * 63) + ".closed.ac.jp", "closed.ac.jp"),
            (".".join(["a"] * 118) + ".closed.ac.jp", "closed.ac.jp"),
        ],
    )
    def test_the_nearest_domain_counts(self, resolver: DNSResolver, name: str, source: str | None) -> None:
        """RFC 8659 §3: NXDOMAIN and an empty answer are both none, an alias is followed, and its target's parents are
        nobody's business.
        """
        assert found(resolver, name).source == source

    def test_records_are_read_as_they_stand(self, resolver: DNSResolver) -> None:
        records = found(resolver, "report.example.ac.jp").records
        assert records == Records((Property(128, "iodef", "mailto:security@example.ac.jp"),), 300)

    @pytest.mark.parametrize(
        "name",
        [
            "www.dead.ac.jp",
            "dead.jp",
            "dead-alias.example.ac.jp",
            "www.bogus.jp",
            "bogus-alias.example.ac.jp",
            "loop.example.ac.jp",
            "long0.example.ac.jp",
        ],
    )
    def test_a_failed_look_up_is_no_answer(self, resolver: DNSResolver, name: str) -> None:
        """SERVFAIL, also for DNSSEC that does not validate and at the end of an alias; aliases without an end."""
        with pytest.raises(LookUpFailed, match="failed"):
            found(resolver, name)

    def test_a_server_that_asks_nobody_else_is_not_believed(self, server: NameServer) -> None:
        resolver = DNSResolver(ManualClock(), ("127.0.0.1", server.authoritative))
        for name in ("www.bogus.jp", "nowhere.bogus.jp", "www.example.ac.jp"):
            with pytest.raises(LookUpFailed):
                resolver.records(name)

    def test_silence_is_no_answer(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            resolver = DNSResolver(ManualClock(), deaf.getsockname(), seconds=0.3)
            with pytest.raises(LookUpFailed, match="example.ac.jp failed"):
                resolver.records("example.ac.jp")

    def test_noise_is_no_answer(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
            noisy.bind(("127.0.0.1", 0))

            def answer() -> None:
                question, sender = noisy.recvfrom(4096)
                noisy.sendto(question[:2] + b"\x84\x00" + b"\xff" * 40, sender)

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(LookUpFailed):
                DNSResolver(ManualClock(), noisy.getsockname(), seconds=0.5).records("example.ac.jp")
            thread.join()

    def test_an_answer_that_ends_in_an_alias_is_followed(self) -> None:
        """A server that follows so many aliases and no more answers as if the last one had no records."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as brief:
            brief.bind(("127.0.0.1", 0))
            told = {
                "a.example.ac.jp.": from_text("a.example.ac.jp.", 60, "IN", "CNAME", "b.example.ac.jp."),
                "b.example.ac.jp.": from_text("b.example.ac.jp.", 60, "IN", "CAA", '0 issue "letsencrypt.org"'),
            }

            def answer() -> None:
                for _ in told:
                    octets, sender = brief.recvfrom(4096)
                    response = make_response(from_wire(octets), recursion_available=True)
                    response.answer = [told[response.question[0].name.to_text()]]
                    brief.sendto(response.to_wire(), sender)

            thread = threading.Thread(target=answer)
            thread.start()
            records = DNSResolver(ManualClock(), brief.getsockname(), seconds=5).records("a.example.ac.jp")
            thread.join()
        assert [each.value for each in records.properties] == ["letsencrypt.org"]

    def test_a_name_has_a_minute(self) -> None:
        clock = ManualClock()

        class Slow:
            def records(self, domain: str) -> Records:  # noqa: ARG002 - the Protocol's
                clock.advance(9)
                return Records()

        with pytest.raises(LookUpFailed, match="longer than 60 s"):
            relevant(Slow(), ".".join(["a"] * 60), clock)

    def test_a_shared_parent_is_asked_about_once_a_minute(self, server: NameServer) -> None:
        clock = ManualClock()
        resolver = DNSResolver(clock, ("127.0.0.1", server.port))
        assert resolver.records("ac.jp") is resolver.records("ac.jp")
        before = resolver.records("ac.jp")
        clock.advance(61)
        assert resolver.records("ac.jp") is not before
