"""Certificate Transparency: how many logs, which settings, and what corresponds to what."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from ct_core import embedded, issued, left, serials
from ct_log import CTLog
from issuance_world import private_key

from issuance import ct_completion
from issuance.certificate import assemble
from issuance.ct_http import HTTPSubmitter
from issuance.ct_log import Submission, Transparency
from issuance.ct_policy import COUNT_RULES, count_rule, shortfall
from issuance.ct_sct import LogRefused, certificate_entry, check_sct, encode_list, precertificate_entry
from issuance.ct_settings import read_logs
from issuance.errors import IssuanceError, RequestRefused, SetupRefused
from issuance.issuer import prepare
from issuance.period import DAY, Period
from issuance.precertificate import (
    POISON,
    check_correspondence,
    embed,
    is_precertificate,
)
from issuance.profile import SERVER

if TYPE_CHECKING:
    from fakes import ManualClock

    from issuance.core import Core

pytest_plugins = ("ct_fixtures",)


class TestCorrespondence:
    @pytest.fixture
    def pair(self, core: Core, logs: list[CTLog]) -> tuple[bytes, bytes, bytes]:
        """Certificate, precertificate, issuer."""
        der = issued(core).der
        assert der is not None
        return der, logs[0].seen[0][0], core.store.issuer("ecc").certificate

    def test_a_changed_profile_is_noticed(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        """A profile that changed between the two made 645 certificates that browsers refused (bugzilla 1838667)."""
        certificate, precertificate, issuer = pair
        check_correspondence(certificate, precertificate, issuer)
        authority = core.store.issuer("ecc")
        contents = prepare(
            core,
            authority,
            replace(SERVER, policies=()),
            subject=asn1_x509.Certificate.load(precertificate).subject.dump(),
            public_key=asn1_x509.Certificate.load(precertificate).public_key.dump(),
            names=("a.example.ac.jp",),
        ).contents
        same_serial = replace(contents, serial=asn1_x509.Certificate.load(precertificate).serial_number)
        other = assemble(same_serial, core.signer(authority), (POISON,))
        with pytest.raises(IssuanceError, match="not what its precertificate announced"):
            check_correspondence(certificate, other, issuer)

    def test_two_of_a_kind_are_no_pair(self, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, precertificate, issuer = pair
        for each in ((certificate, certificate), (precertificate, precertificate)):
            with pytest.raises(IssuanceError):
                check_correspondence(*each, issuer)

    def test_another_issuer(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, precertificate, _ = pair
        with pytest.raises(IssuanceError, match="does not verify under its issuer"):
            check_correspondence(certificate, precertificate, core.store.issuer("rsa").certificate)

    def test_a_certificate_is_completed_once(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, _, issuer = pair
        with pytest.raises(IssuanceError, match="no precertificate"):
            embed(certificate, b"\0\0", issuer, core.signer(core.store.issuer("ecc")))

    def test_scts_of_another_precertificate_are_never_embedded(
        self, core: Core, pair: tuple[bytes, bytes, bytes]
    ) -> None:
        """A submitter that mixes up two answers is found out before anything is recorded."""
        assert core.transparency is not None
        issuer = core.store.issuer("ecc")
        above = (issuer.certificate, core.store.issuer("root").certificate)
        honest = core.transparency
        wrong = honest.submitter.submit(
            precertificate_entry(pair[1], above), honest.logs, core.now(), lambda _answered: False
        )

        class Mixed:
            def submit(self, *_arguments: object) -> Submission:
                return wrong

        before = serials(core)
        with pytest.raises(LogRefused, match="does not verify"):
            issued(replace(core, transparency=Transparency(honest.logs, Mixed())))
        known = left(core, before)
        assert known.der is not None
        assert is_precertificate(known.der)

    def test_the_hash_is_that_of_the_issuers_own_key(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        """certificate-transparency-go 39: it was another's."""
        _, precertificate, issuer = pair
        root = core.store.issuer("root").certificate
        entry = precertificate_entry(precertificate, (issuer, root))
        key = x509.load_der_x509_certificate(issuer).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - this test alone

        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert entry.signed[2:34] == hashlib.sha256(spki).digest()


class TestPolicy:
    @pytest.mark.parametrize(
        ("at", "validity", "count"),
        [
            ("2018-05-01", Period(months=15), 3),
            ("2018-05-01", Period(months=14), 2),
            ("2018-05-01", Period(months=24, days=30), 3),
            ("2018-05-01", Period(months=27), 3),
            ("2018-05-01", Period(months=39), 4),
            ("2018-05-01", Period(months=40), 5),
            ("2022-04-14", Period(days=398), 3),
            ("2022-04-15", Period(days=398), 3),
            ("2021-04-20", Period(days=398), 2),
            ("2026-11-25", Period(days=180), 2),
            ("2026-11-25", Period(days=181), 3),
            ("2026-11-25", Period(days=199), 3),
        ],
    )
    def test_counts_by_date_and_validity(self, at: str, validity: Period, count: int) -> None:
        start = int(datetime.fromisoformat(f"{at}T00:00:00+00:00").timestamp())
        rule, end = count_rule(start), validity.last_second(start)
        logs = [CTLog(operator, ec.generate_private_key(ec.SECP256R1())).described() for operator in "AB"]
        logs += [CTLog("Google", ec.generate_private_key(ec.SECP256R1())).described() for _ in range(4)]
        assert shortfall(rule, logs[-count:] if count > 4 else [logs[0], *logs[-count + 1 :]], start, end) is None
        lacking = shortfall(rule, [logs[0], *logs[-count + 2 :]] if count > 2 else logs[:1], start, end)
        assert lacking is not None
        assert f"SCTs of {count} logs of 2 operators" in lacking

    def test_rules_change_at_a_moment(self) -> None:
        for before, after in itertools.pairwise(COUNT_RULES):
            assert count_rule(after.effective - 1) is before
            assert count_rule(after.effective) is after
        apple = int(datetime(2018, 10, 15, tzinfo=UTC).timestamp())
        assert count_rule(apple - 1).demanded_by == ("Chrome",)
        assert count_rule(apple).demanded_by == ("Chrome", "Apple")
        assert count_rule(0) is COUNT_RULES[0]

    def test_operators(self) -> None:
        start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
        end = Period(days=90).last_second(start)
        same = [CTLog("A", ec.generate_private_key(ec.SECP256R1())).described() for _ in range(5)]
        assert "has 5 of 1" in str(shortfall(count_rule(start), same, start, end))
        until_2022 = COUNT_RULES[0]
        other = CTLog("B", ec.generate_private_key(ec.SECP256R1())).described()
        assert "must be of a log of Google" in str(shortfall(until_2022, [*same, other], start, end))
        assert shortfall(count_rule(start), [*same, other], start, end) is None

    def test_too_few_logs_take_no_serial(self, core: Core, logs: list[CTLog]) -> None:
        before = serials(core)
        ended = {"usable_until": core.now()}
        for described in (
            (),
            [log.described() for log in logs[:2]],
            [log.described(**ended) for log in logs],
            [log.described(expiry_until=core.now() + 30 * DAY) for log in logs],
            [log.described(expiry_from=core.now() + 300 * DAY) for log in logs],
            [log.described(usable_from=core.now() + 1) for log in logs],
        ):
            with pytest.raises(RequestRefused, match="logs of .ct. that are in force are too few"):
                issued(replace(core, transparency=Transparency(tuple(described), HTTPSubmitter())))
        assert serials(core) == before

    def test_a_shard_gets_what_ends_in_it(self, core: Core, logs: list[CTLog]) -> None:
        end = core.now() + 198 * DAY
        this = tuple(log.described(expiry_from=end, expiry_until=end + DAY) for log in logs)
        other = CTLog("Hedy", ec.generate_private_key(ec.SECP256R1())).described(expiry_until=end)
        told = replace(core, transparency=Transparency((*this, other), HTTPSubmitter(2, 0.3)))
        assert len(embedded(issued(told))) == 3


def test_a_timestamp_may_be_a_little_ahead(core: Core, logs: list[CTLog], clock: ManualClock) -> None:
    logs[0].now = lambda: clock.now() + 59
    try:
        assert len(embedded(issued(core))) == 3
    finally:
        logs[0].now = clock.now


def test_scts_that_do_not_fit_are_refused(core: Core) -> None:
    certificate = issued(core)
    assert certificate.der is not None
    submission = ct_completion._submit(core, certificate_entry(certificate.der, core.chain(core.store.issuer("ecc"))))
    (log, sct), *_ = submission.scts
    with pytest.raises(LogRefused, match="no room"):
        encode_list([sct] * 1000)
    entry = precertificate_entry(certificate.der, core.chain(core.store.issuer("ecc")))
    with pytest.raises(LogRefused, match="does not verify"):
        check_sct(sct, log.key, entry, core.now())


KEY = base64.b64encode(CTLog("A", ec.generate_private_key(ec.SECP256R1())).public_key).decode()


class TestSettings:
    def test_logs(self) -> None:
        stated = {
            "url": "https://log.example/2026h1",
            "operator": "A",
            "key": KEY,
            "usable_from": datetime(2026, 1, 1, tzinfo=UTC).date(),
            "expiry_until": datetime(2026, 7, 1, 12, tzinfo=UTC),
        }
        logs = read_logs({"ct": {"logs": [stated]}})
        assert logs is not None
        (log,) = logs
        assert (log.url, log.operator, log.usable_from, log.usable_until) == (
            "https://log.example/2026h1/", "A", 1767225600, None,
        )  # fmt: skip
        assert log.expiry_until == 1782907200
        assert log.log_id == hashlib.sha256(base64.b64decode(KEY)).digest()

    def test_it_is_off_where_nothing_is_said(self) -> None:
        assert read_logs({}) is None
        assert read_logs({"ct": {"enabled": False, "logs": []}}) is None
        assert read_logs({"ct": {}}) == ()

    @pytest.mark.parametrize(
        ("section", "sentence"),
        [
            ([], "must be a table"),
            ({"log": []}, "[ct] log is not a setting"),
            ({"enabled": 1}, "enabled must be true or false"),
            ({"logs": {}}, "must be a list of tables"),
            ({"logs": ["a"]}, "number 1: it is not a table"),
            ({"logs": [{"name": "a"}]}, "number 1: name is not a setting"),
            ({"logs": [{"url": "http://a/"}]}, "operator must be text"),
            ({"logs": [{"url": "a", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a:x/", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a/?b", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a/", "operator": "A", "key": "?"}]}, "SubjectPublicKeyInfo in base64"),
            ({"logs": [{"url": "http://a/", "operator": "A", "key": "AAAA"}]}, "SubjectPublicKeyInfo in base64"),
            (
                {"logs": [{"url": "http://a/", "operator": "A", "key": KEY, "usable_from": "2026-01-01"}]},
                "usable_from must be a date",
            ),
            (
                {"logs": [{"url": f"http://{host}/", "operator": "A", "key": KEY} for host in "ab"]},
                "two of them have the same key",
            ),
        ],
    )
    def test_wrong_settings_are_named(self, section: object, sentence: str) -> None:
        with pytest.raises(SetupRefused) as refusal:
            read_logs({"ct": section})
        assert sentence in str(refusal.value)

    def test_keys_that_no_log_has(self) -> None:
        for kind in ("p384", "rsa-1024", "ed25519"):
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - here alone

            octets = private_key(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            stated = {"url": "http://a/", "operator": "A", "key": base64.b64encode(octets).decode()}
            with pytest.raises(SetupRefused, match="P-256, or RSA of 2048 bits"):
                read_logs({"ct": {"logs": [stated]}})
