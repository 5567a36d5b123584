"""The rules of subject names: every symbol, place and spelling, under the rules of 2018 and of today."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from asn1crypto.x509 import Name, NameType
from cryptography.x509 import RFC822Name
from issuance_world import copy_home, dns, issuance, make_csr, read_certificate

from ca_store.types import Institution
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.distinguished_name import decode_name, make_name, parse_name
from issuance.errors import IssuanceError, NameRefused, SetupRefused
from issuance.prefecture import PREFECTURES, SPELLINGS, prefecture
from issuance.profile import CLIENT, CODE_SIGNING, SERVER, SMIME
from issuance.rule_set import RULE_SETS, describe, parse_as_of, rule_set
from issuance.subject_rules import (
    check_common_name,
    check_host,
    check_locality,
    check_state,
    check_subject,
    check_units,
)
from issuance.subscriber import order, order_as_named

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import GeneralName

BY_NAME = {rules.name: rules for rules in RULE_SETS}
OLD, JULY, NOW = BY_NAME["2018-03"], BY_NAME["2018-07"], RULE_SETS[-1]
OWN = "O=Example University,L=Chiyoda-ku,ST=Tokyo,C=JP"


class TestText:
    def test_cn_comes_first_in_text_and_last_in_der(self) -> None:
        name = parse_name("CN=a.example.ac.jp,OU=One,OU=Two," + OWN)
        assert [each.native for each in _types(name.encode())] == [
            *("country_name", "state_or_province_name", "locality_name", "organization_name"),
            *("organizational_unit_name", "organizational_unit_name", "common_name"),
        ]
        assert str(name) == "CN=a.example.ac.jp,OU=One,OU=Two," + OWN

    def test_values_are_utf8_but_for_the_country(self) -> None:
        """``@`` and ``_`` are no characters of a PrintableString."""
        encoded = parse_name("CN=a@b_c,O=Example University,C=JP").encode()
        tags = {rdn[0]["type"].native: rdn[0]["value"].chosen.tag for rdn in Name.load(encoded).chosen}
        assert tags == {"country_name": 19, "organization_name": 12, "common_name": 12}
        assert decode_name(encoded) == parse_name("CN=a@b_c,O=Example University,C=JP")

    @pytest.mark.parametrize(
        ("text", "attributes"),
        [
            ("cn=a, o=b , C=JP", (("CN", "a"), ("O", "b "), ("C", "JP"))),
            (r"CN=a\, b,C=JP", (("CN", "a, b"), ("C", "JP"))),
            ("O=Example, Inc,C=JP", (("O", "Example, Inc"), ("C", "JP"))),
            (r"CN=a\\,C=JP", (("CN", "a\\"), ("C", "JP"))),
            ("OU=,C=JP", (("OU", ""), ("C", "JP"))),
            ("CN=a=b,C=JP", (("CN", "a=b"), ("C", "JP"))),
        ],
    )
    def test_what_people_write(self, text: str, attributes: tuple[tuple[str, str], ...]) -> None:
        assert parse_name(text).attributes == attributes

    @pytest.mark.parametrize(
        "text", ["", ",", "CN=a,", "a", "CN=a,emailAddress=a@b", "2.5.4.3=a", "CN=a\\", "CN=a,,C=JP"]
    )
    def test_what_is_no_name(self, text: str) -> None:
        with pytest.raises(NameRefused):
            parse_name(text)


class TestPrefectures:
    def test_there_are_47(self) -> None:
        assert len(PREFECTURES) == 47

    @pytest.mark.parametrize("spelling", [*SPELLINGS])
    def test_every_spelling_in_any_case(self, spelling: str) -> None:
        assert prefecture(spelling.upper()) in PREFECTURES
        check_state(spelling.title(), "JP")

    def test_suffixes_and_long_vowels(self) -> None:
        assert {prefecture(each) for each in ("Tokyo", "Toukyou", "TOKYO-TO", "toukyou-to")} == {"Tokyo"}
        assert {prefecture(each) for each in ("Hokkaido", "Hokkai-do", "Hokkaidou")} == {"Hokkaido"}
        assert {prefecture(each) for each in ("Osaka-fu", "Oosaka", "Ohsaka")} == {"Osaka"}
        assert {prefecture(each) for each in ("Tokyo-ken", "Hokkai", "Aomori-fu")} == {None}

    @pytest.mark.parametrize(
        "text", ["Default", "Some-State", "東京", "JP-13", "", "Chiyoda-ku", "Tokyo, C=JP", "Tōkyō"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(NameRefused):
            check_state(text, "JP")

    def test_other_countries_have_other_states(self) -> None:
        check_state("Bavaria", "DE")
        with pytest.raises(NameRefused, match="when nobody says anything"):
            check_state("Some-State", "AU")


@pytest.mark.parametrize(
    ("locality", "accepted"),
    [
        ("Chiyoda-ku", True),
        ("Tsukuba", True),
        ("Yokohama City", True),
        ("Academe", False),
        ("ACADEME", False),
        ("Academe2", False),
        ("Academe-ops", False),
        ("Default City", False),
        ("default", False),
        ("City", False),
        ("Kyoto, C=JP", False),
        ("千代田区", False),
        ("-", False),
        ("a" * 64, True),
        ("a" * 65, False),
    ],
)
def test_localities(locality: str, accepted: bool) -> None:
    if accepted:
        check_locality(locality)
        return
    with pytest.raises(NameRefused):
        check_locality(locality)


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("a.ac.jp", True),
        ("a-b.ac.jp", True),
        ("*.a.ac.jp", True),
        ("xn--wgv71a.ac.jp", True),
        ("www.xn--wgv71a.jp", True),
        ("-a.ac.jp", False),
        (".a.ac.jp", False),
        ("a..ac.jp", False),
        ("a.-b.jp", False),
        ("a-.b.jp", False),
        ("a--b.jp", False),
        ("xn--wgv71a.a--b.jp", False),
        ("a_b.ac.jp", False),
        ("**.ac.jp", False),
    ],
)
def test_symbols_in_host_names(host: str, accepted: bool) -> None:
    if accepted:
        assert check_host(host) == host
        return
    with pytest.raises(NameRefused):
        check_host(host)


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("Taro Yamada", True),
        ("O'Neill-Azuma", True),
        ("Taro (Library)", True),
        ("taro_y@x", True),
        ("-Taro", False),
        ("_taro", False),
        ("Taro--Yamada", False),
        ("Taro (Lab.)", False),
        ("R&D", False),
        ("Åsa", False),
        ("山田", False),
        ("Taro, C=JP", False),
        ("Taro,C=JP", False),
        ("Taro+OU=x", False),
        ("Taro\nC=JP", False),
        (" Taro", False),
        ("a" * 64, True),
        ("a" * 65, False),
    ],
)
def test_names_of_people(name: str, accepted: bool) -> None:
    if accepted:
        check_common_name(name)
        return
    with pytest.raises(NameRefused):
        check_common_name(name)


@pytest.mark.parametrize(
    ("units", "in_2018", "in_2020"),
    [
        (("Library",), True, True),
        (("A-1",), True, True),
        (("Library", "Annex"), True, True),
        (("A",), True, False),
        (("12",), True, False),
        (("1-2",), True, False),
        (("-",), False, False),
        ((". -",), False, False),
        ((" ",), False, False),
        (("",), False, False),
        (("R&D",), False, False),
        (("図書館",), False, False),
        (("a" * 64,), True, True),
        (("a" * 65,), False, False),
        (("a" * 32, "b" * 32), True, True),
        (("a" * 32, "b" * 33), False, False),
    ],
)
def test_units(units: tuple[str, ...], in_2018: bool, in_2020: bool) -> None:
    for rules, accepted in ((JULY, in_2018), (BY_NAME["2020-07"], in_2020), (NOW, False)):
        if accepted:
            check_units(units, rules)
        else:
            with pytest.raises(NameRefused):
                check_units(units, rules)


class TestSubjects:
    @pytest.mark.parametrize(
        ("places", "before", "july", "today"),
        [
            ("L=Academe", None, "Academe is no longer accepted", "Academe is no longer accepted"),
            ("L=Chiyoda-ku", None, None, "both L and ST"),
            ("ST=Tokyo", "ST is not", None, "both L and ST"),
            ("L=Chiyoda-ku,ST=Tokyo", "ST is not", None, None),
            ("L=Chiyoda-ku,ST=Toukyou", "ST is not", None, "ST=Toukyou is not where"),
            ("L=Chiyoda-ku,ST=Kyoto", "ST is not", "ST=Kyoto is not where", "ST=Kyoto is not where"),
            ("L=Kyoto-shi,ST=Tokyo", "ST is not", "L=Kyoto-shi is not where", "L=Kyoto-shi is not where"),
            ("ST=Tokyo,L=Chiyoda-ku", "in this order", "in this order", "in this order"),
            ("", "in this order|ST is not", "must state L or ST", "must state L or ST"),
        ],
    )
    def test_places(self, places: str, before: str | None, july: str | None, today: str | None) -> None:
        """Four shapes of July 2018, and what is left of them today."""
        name = parse_name(",".join(filter(None, ("CN=a.example.ac.jp", "O=Example University", places, "C=JP"))))
        for rules, sentence in ((OLD, before), (JULY, july), (NOW, today)):
            if sentence is None:
                check_subject(name, SERVER, INSTITUTION, rules)
            else:
                with pytest.raises(NameRefused, match=sentence):
                    check_subject(name, SERVER, INSTITUTION, rules)

    @pytest.mark.parametrize(
        "text",
        [
            "CN=a.example.ac.jp,O=Other College,L=Chiyoda-ku,ST=Tokyo,C=JP",
            "CN=a.example.ac.jp,O=example university,L=Chiyoda-ku,ST=Tokyo,C=JP",
            "CN=a.example.ac.jp,O=Example University,L=Chiyoda-ku,ST=Tokyo,C=US",
            "CN=a.example.ac.jp,O=Example University,L=Chiyoda-ku,ST=Tokyo,C=jp",
            "CN=a.example.ac.jp,O=Example University,L=Chiyoda-ku,ST=Tokyo",
            "CN=a.example.ac.jp,CN=b.example.ac.jp," + OWN,
            r"CN=a.example.ac.jp,O=Example University,L=Chiyoda-ku,ST=Tokyo\, C=JP,C=JP",
            OWN,
        ],
    )
    def test_the_institution_is_its_own(self, text: str) -> None:
        for rules in (JULY, NOW):
            with pytest.raises(NameRefused):
                check_subject(parse_name(text), SERVER, INSTITUTION, rules)

    def test_an_institution_of_injected_places_gets_nothing(self) -> None:
        """bugzilla 2004654: ST=``Tokyo, C=JP`` was certified, and no linter said a word."""
        injected = replace(INSTITUTION, state="Tokyo, C=JP")
        with pytest.raises(NameRefused, match="another attribute"):
            order(decode_request(make_csr(common_name="a.example.ac.jp")), SERVER, (injected,), NOW)

    def test_both_ways_into_a_certificate_meet_one_validator(self) -> None:
        """Code once looked at the additional names alone, and the first came in by another way (bugzilla 1445857)."""
        request = decode_request(make_csr(names=dns("a.example.ac.jp", "b--c.example.ac.jp")))
        named = parse_name("CN=a.example.ac.jp," + OWN)
        with pytest.raises(IssuanceError, match="two symbols follow each other"):
            order(request, SERVER, (INSTITUTION,), NOW)
        with pytest.raises(IssuanceError, match="two symbols follow each other"):
            order_as_named(named, SERVER, INSTITUTION, NOW, ("a.example.ac.jp", "b--c.example.ac.jp"))
        with pytest.raises(IssuanceError, match="not under a domain that Example University"):
            order_as_named(named, SERVER, INSTITUTION, NOW, ("a.example.ac.jp", "a.example.com"))
        with pytest.raises(IssuanceError, match="is not among"):
            order_as_named(named, SERVER, INSTITUTION, NOW, ("b.example.ac.jp",))

    def test_the_common_name_is_the_alternative_name_to_the_character(self) -> None:
        named = order_as_named(parse_name("CN=A.example.ac.jp," + OWN), SERVER, INSTITUTION, NOW, ("A.Example.ac.jp",))
        assert named.names == ("a.example.ac.jp",)
        assert named.subject == parse_name("CN=a.example.ac.jp," + OWN).encode()

    def test_a_mailbox_is_a_persons_name_until_2023(self) -> None:
        request = decode_request(make_csr(common_name="Taro", names=[_mail("t@example.ac.jp")]))
        assert order(request, SMIME, (INSTITUTION,), JULY).subject == parse_name("CN=Taro," + OWN).encode()
        assert order(request, SMIME, (INSTITUTION,), NOW).subject == make_name({"CN": "t@example.ac.jp"}).encode()

    def test_code_is_signed_in_the_institutions_name(self) -> None:
        with pytest.raises(IssuanceError, match="is 'Example University'"):
            order_as_named(parse_name("CN=Taro," + OWN), CODE_SIGNING, INSTITUTION, NOW)
        order_as_named(parse_name("CN=Example University," + OWN), CODE_SIGNING, INSTITUTION, NOW)

    def test_before_july_2018_places_were_academe(self) -> None:
        nowhere = Institution("Example University", "JP", "Tokyo", None, ("example.ac.jp",))
        request = decode_request(make_csr(common_name="Taro"))
        expected = parse_name("CN=Taro,O=Example University,L=Academe,C=JP").encode()
        assert order(request, CLIENT, (nowhere,), OLD).subject == expected


class TestDates:
    @pytest.mark.parametrize(
        ("moment", "name"),
        [
            ("2018-03-26T19:00:00+09:00", "2018-03"),
            ("2018-07-08T23:59:59+09:00", "2018-03"),
            ("2018-07-09T00:00:00+09:00", "2018-07"),
            ("2018-07-09T00:00:01+09:00", "2018-07"),
            ("2018-07-08T15:00:00Z", "2018-07"),
            ("2018-07-09", "2018-07"),
            ("2018-07-08", "2018-03"),
            ("2020-12-22", "2020-12"),
            ("2026-11-25", "2025-03"),
        ],
    )
    def test_each_moment_has_its_rules(self, moment: str, name: str) -> None:
        assert rule_set(parse_as_of(moment)).name == name

    def test_before_the_first_there_are_none(self) -> None:
        with pytest.raises(SetupRefused, match="before 2018-03-26T19:00:00"):
            rule_set(parse_as_of("2018-03-26T18:59:59+09:00"))

    def test_they_say_which_they_are(self) -> None:
        assert describe(JULY) == "rules of 2018-07, in force since 2018-07-09T00:00+09:00"

    def test_the_command_goes_by_the_rules_of_the_day_that_it_is_told(self, demo_home: Path, tmp_path: Path) -> None:
        home = copy_home(demo_home, tmp_path)
        csr, out = tmp_path / "a.csr", tmp_path / "a.pem"
        csr.write_bytes(make_csr(common_name="a.example.ac.jp"))
        issue = ("cert", "issue", "--ca", "server-rsa", "--profile", "server", "--csr", csr, "--out", out)
        assert issuance(*issue, home=home).stderr.startswith("issuance: rules of 2025-03, in force since")
        assert "ST=Tokyo" in read_certificate(out).subject.rfc4514_string()
        done = issuance(*issue, "--as-of", "2018-07-01", home=home)
        assert "rules of 2018-03," in done.stderr
        assert "ST=" not in read_certificate(out).subject.rfc4514_string()
        for wrong in ("2018", "yesterday", "2018-07-01T00:00:00", "1999-01-01"):
            issuance(*issue, "--as-of", wrong, home=home, status=2)


def _types(name: bytes) -> list[NameType]:
    return [rdn[0]["type"] for rdn in Name.load(name).chosen]


def _mail(address: str) -> GeneralName:

    return RFC822Name(address)
