"""What may be certified: requests, keys and names, with the sentence that each refusal gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuance_world import dns, make_csr, private_key

from ca_store.types import Institution
from issuance.certificate import encode_name
from issuance.csr import check_key, decode_request
from issuance.demo import INSTITUTION
from issuance.domain import check_registrable, is_under, normalise
from issuance.errors import IssuanceError, NameRefused, RequestRefused, SetupRefused
from issuance.profile import CLIENT, CODE_SIGNING, OCSP_DELEGATE, PROFILES, SERVER, SMIME, TSA_UNIT
from issuance.rule_set import RULE_SETS
from issuance.subscriber import order

if TYPE_CHECKING:
    from issuance.profile import Profile

OTHER = Institution("Other College", "JP", "Kyoto", "Kyoto-shi", ("other.ac.jp", "xn--wgv71a.jp"))
INSTITUTIONS = (INSTITUTION, OTHER)


def spki(kind: str) -> bytes:
    return private_key(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class TestDecoding:
    def test_pem_and_der_are_the_same_request(self) -> None:
        pem = make_csr(common_name="a.example.ac.jp", names=dns("a.example.ac.jp", "b.example.ac.jp"))
        der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
        request = decode_request(der)
        assert request == decode_request(pem)
        assert request.public_key == spki("rsa-2048")
        assert (request.common_name, request.dns_names) == ("a.example.ac.jp", ("a.example.ac.jp", "b.example.ac.jp"))

    def test_a_request_signed_by_another_key_is_refused(self) -> None:
        der = bytearray(x509.load_pem_x509_csr(make_csr(common_name="a.example.ac.jp")).public_bytes(Encoding.DER))
        der[-1] ^= 1
        with pytest.raises(RequestRefused, match="not signed by the key"):
            decode_request(bytes(der))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            b"-----BEGIN CERTIFICATE REQUEST-----\n",
            b"\x30\x80\x00\x00",
            bytes(range(256)) * 300,
        ],
        ids=["nothing", "empty body", "half a PEM", "BER", "noise"],
    )
    def test_what_is_no_request_is_refused_in_one_sentence(self, data: bytes) -> None:
        with pytest.raises(RequestRefused, match="not a certificate signing request") as refused:
            decode_request(data)
        assert "\n" not in str(refused.value)

    def test_a_truncated_request_is_refused_wherever_it_ends(self) -> None:
        der = x509.load_pem_x509_csr(make_csr("p384", common_name="a.example.ac.jp")).public_bytes(Encoding.DER)
        for end in range(len(der)):
            with pytest.raises(RequestRefused):
                decode_request(der[:end])

    def test_a_version_that_does_not_exist_is_refused(self) -> None:
        """RFC 2986 §4.1: version is 0. A signed request of version 3 was once taken for a valid one elsewhere."""
        der = x509.load_pem_x509_csr(make_csr("p384", common_name="a")).public_bytes(Encoding.DER)
        with pytest.raises(RequestRefused):
            decode_request(der.replace(b"\x02\x01\x00", b"\x02\x01\x03", 1))

    def test_an_address_among_the_names_is_refused_and_other_extensions_are_not_copied(self) -> None:
        from ipaddress import ip_address  # noqa: PLC0415 - this test alone

        with pytest.raises(RequestRefused, match="IPAddress cannot be certified"):
            decode_request(make_csr(names=[x509.IPAddress(ip_address("192.0.2.1"))]))
        asked = make_csr(common_name="a.example.ac.jp", extensions=[x509.BasicConstraints(ca=True, path_length=None)])
        assert decode_request(asked) == decode_request(make_csr(common_name="a.example.ac.jp"))

    def test_two_common_names_are_refused(self) -> None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, value) for value in ("a.b", "c.d")])
        csr = x509.CertificateSigningRequestBuilder(name).sign(private_key("p384"), hashes.SHA256())
        with pytest.raises(RequestRefused, match="2 commonName attributes"):
            decode_request(csr.public_bytes(Encoding.PEM))


class TestKeys:
    @pytest.mark.parametrize(
        ("profile", "kind", "issuer", "sentence"),
        [
            (SERVER, "rsa-2048", "rsa-3072", None),
            (SERVER, "p384", "p384", None),
            (SERVER, "rsa-1024", "rsa-3072", "has 1024 bits: at least 2048"),
            (SERVER, "p384", "rsa-3072", "this CA certifies RSA keys only"),
            (SERVER, "rsa-2048", "p384", "this CA certifies EC keys only"),
            (SERVER, "p256", "p384", "secp256r1, not on secp384r1"),
            (SERVER, "ed25519", "p384", "neither RSA nor EC"),
            (CLIENT, "rsa-2048", "rsa-3072", None),
            (CLIENT, "p384", "rsa-3072", "does not certify: use RSA"),
            (CLIENT, "ed25519", "rsa-3072", "is neither RSA$"),
            (SMIME, "p256", "rsa-3072", "does not certify: use RSA"),
            (CODE_SIGNING, "rsa-3072", "rsa-3072", None),
            (CODE_SIGNING, "rsa-2048", "rsa-3072", "at least 3072"),
            (OCSP_DELEGATE, "p256", "p384", None),
            (OCSP_DELEGATE, "rsa-3072", "rsa-3072", None),
            (TSA_UNIT, "p256", "rsa-3072", None),
            (TSA_UNIT, "rsa-2048", "rsa-3072", "at least 3072"),
        ],
    )
    def test_each_profile_has_its_keys(self, profile: Profile, kind: str, issuer: str, sentence: str | None) -> None:
        if sentence is None:
            check_key(spki(kind), profile.keys, issuer_key=spki(issuer))
            return
        with pytest.raises(RequestRefused, match=sentence):
            check_key(spki(kind), profile.keys, issuer_key=spki(issuer))

    @pytest.mark.parametrize(
        ("modulus_bits", "exponent", "sentence"),
        [(2048, 3, "exponent 3"), (2050, 65537, "multiple of 8"), (8200, 65537, "multiple of 8 up to 8192")],
    )
    def test_rsa_numbers(self, modulus_bits: int, exponent: int, sentence: str) -> None:
        """BR §6.1.5, §6.1.6."""
        key = rsa.RSAPublicNumbers(exponent, (1 << modulus_bits) - 1).public_key()
        with pytest.raises(RequestRefused, match=sentence):
            check_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), SERVER.keys)


class Case(NamedTuple):
    """A request, the profile it is made for, and the names it gets or the sentence it gets."""

    name: str
    profile: Profile
    csr: bytes
    subject: dict[str, str] | None = None
    names: tuple[str, ...] = ()
    refusal: str = ""


UNIVERSITY = {
    "country_name": "JP",
    "state_or_province_name": "Tokyo",
    "locality_name": "Chiyoda-ku",
    "organization_name": "Example University",
}
COLLEGE = {
    "country_name": "JP",
    "state_or_province_name": "Kyoto",
    "locality_name": "Kyoto-shi",
    "organization_name": "Other College",
}


def mail(*addresses: str) -> list[x509.GeneralName]:
    return [x509.RFC822Name._init_without_validation(address) for address in addresses]


CASES = (
    Case(
        "the common name alone is the host",
        SERVER,
        make_csr(common_name="WWW.Example.ac.jp"),
        UNIVERSITY | {"common_name": "www.example.ac.jp"},
        ("www.example.ac.jp",),
    ),
    Case(
        "the first dNSName is the common name",
        SERVER,
        make_csr(names=dns("b.example.ac.jp", "a.example.ac.jp")),
        UNIVERSITY | {"common_name": "b.example.ac.jp"},
        ("b.example.ac.jp", "a.example.ac.jp"),
    ),
    Case(
        "the organisation of the request does not count",
        SERVER,
        make_csr(common_name="www.other.ac.jp", organization="Example University"),
        COLLEGE | {"common_name": "www.other.ac.jp"},
        ("www.other.ac.jp",),
    ),
    Case(
        "wildcard and the domain itself",
        SERVER,
        make_csr(common_name="*.example.ac.jp", names=dns("*.example.ac.jp", "example.ac.jp")),
        UNIVERSITY | {"common_name": "*.example.ac.jp"},
        ("*.example.ac.jp", "example.ac.jp"),
    ),
    Case(
        "punycode",
        SERVER,
        make_csr(common_name="xn--wgv71a.xn--wgv71a.jp"),
        COLLEGE | {"common_name": "xn--wgv71a.xn--wgv71a.jp"},
        ("xn--wgv71a.xn--wgv71a.jp",),
    ),
    Case("no names", SERVER, make_csr(), refusal="names no host"),
    Case("foreign", SERVER, make_csr(common_name="www.example.com"), refusal="'www.example.com' is not under a domain"),
    Case("suffix of letters", SERVER, make_csr(common_name="evilexample.ac.jp"), refusal="is not under a domain"),
    Case(
        "one foreign among our own",
        SERVER,
        make_csr(names=dns("a.example.ac.jp", "a.example.com")),
        refusal="'a.example.com' is not under",
    ),
    Case("parent of a domain", SERVER, make_csr(common_name="*.ac.jp"), refusal="is not under a domain"),
    Case(
        "two institutions",
        SERVER,
        make_csr(names=dns("a.example.ac.jp", "a.other.ac.jp")),
        refusal="more than one institution",
    ),
    Case(
        "a common name that is no dNSName",
        SERVER,
        make_csr(common_name="c.example.ac.jp", names=dns("a.example.ac.jp")),
        refusal="'c.example.ac.jp' is not among",
    ),
    Case("inner wildcard", SERVER, make_csr(common_name="a.*.example.ac.jp"), refusal="'\\*' is no label"),
    Case("partial wildcard", SERVER, make_csr(common_name="a*.example.ac.jp"), refusal="'a\\*' is no label"),
    Case("underscore", SERVER, make_csr(names=dns("a_b.example.ac.jp")), refusal="'a_b' is no label"),
    Case("leading hyphen", SERVER, make_csr(names=dns("-a.example.ac.jp")), refusal="'-a' is no label"),
    Case("empty label", SERVER, make_csr(names=dns("a..example.ac.jp")), refusal="'' is no label"),
    Case("leading dot", SERVER, make_csr(names=dns(".example.ac.jp")), refusal="'' is no label"),
    Case("trailing dot", SERVER, make_csr(names=dns("a.example.ac.jp.")), refusal="'' is no label"),
    Case(
        "two hyphens elsewhere than an ACE prefix has them",
        SERVER,
        make_csr(common_name="a--b.example.ac.jp"),
        refusal="two symbols follow each other",
    ),
    Case("reserved label", SERVER, make_csr(common_name="ab--c.example.ac.jp"), refusal="reserved label"),
    Case("not punycode", SERVER, make_csr(common_name="xn--99999.example.ac.jp"), refusal="punycode"),
    Case("an address as a name", SERVER, make_csr(common_name="192.0.2.1"), refusal="not a full host name"),
    Case("a label of 64", SERVER, make_csr(names=dns("a" * 64 + ".example.ac.jp")), refusal="is no label"),
    Case("a mail address", SERVER, make_csr(names=mail("a@example.ac.jp")), refusal="holds no mail address"),
    Case(
        "a common name of 65",
        SERVER,
        make_csr(names=dns("a" * 51 + ".example.ac.jp")),
        refusal="more than 64 characters",
    ),
    Case(
        "a person",
        CLIENT,
        make_csr(common_name="Asa O'Neill-Azuma", organization="Other College"),
        COLLEGE | {"common_name": "Asa O'Neill-Azuma"},
    ),
    Case("a person of nowhere", CLIENT, make_csr(common_name="Taro"), refusal="must name one of the registered"),
    Case(
        "a person of elsewhere",
        CLIENT,
        make_csr(common_name="Taro", organization="Evil Corp"),
        refusal="registered under the name 'Evil Corp'",
    ),
    Case("no one", CLIENT, make_csr(organization="Other College"), refusal="no common name"),
    Case(
        "nothing but symbols",
        CLIENT,
        make_csr(common_name="-. -", organization="Other College"),
        refusal="'-. -' is no common name",
    ),
    Case(
        "a host for a person",
        CLIENT,
        make_csr(common_name="Taro", organization="Other College", names=dns("a.other.ac.jp")),
        refusal="holds no alternative names",
    ),
    Case(
        "a mailbox",
        SMIME,
        make_csr(common_name="Taro", names=mail("Taro.Yamada@Mail.example.ac.jp", "t@other.ac.jp")),
        {"common_name": "Taro.Yamada@mail.example.ac.jp"},
        ("Taro.Yamada@mail.example.ac.jp", "t@other.ac.jp"),
    ),
    Case("no mailbox", SMIME, make_csr(common_name="t@example.ac.jp"), refusal="names no mail address"),
    Case("a foreign mailbox", SMIME, make_csr(names=mail("t@example.com")), refusal="'t@example.com' is not under"),
    Case("a hidden mailbox", SMIME, make_csr(names=mail("t@example.com@example.ac.jp")), refusal="printable ASCII"),
    Case("a host for mail", SMIME, make_csr(names=dns("a.example.ac.jp")), refusal="holds no host name"),
    Case(
        "code is signed by an organisation",
        CODE_SIGNING,
        make_csr(common_name="Other College", organization="Other College"),
        COLLEGE | {"common_name": "Other College"},
    ),
    Case(
        "code is not signed by a person",
        CODE_SIGNING,
        make_csr(common_name="Taro", organization="Other College"),
        refusal="is 'Other College'",
    ),
    Case("delegates are not asked for", OCSP_DELEGATE, make_csr(common_name="x"), refusal="not issued from requests"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.profile.name}: {case.name}")
def test_names(case: Case) -> None:
    if case.refusal:
        with pytest.raises(IssuanceError, match=case.refusal):
            order(decode_request(case.csr), case.profile, INSTITUTIONS, RULE_SETS[-1])
        return
    named = order(decode_request(case.csr), case.profile, INSTITUTIONS, RULE_SETS[-1])
    if case.subject is not None:
        assert named.subject == encode_name(case.subject)
        assert named.names == case.names


def test_the_only_institution_need_not_be_named() -> None:
    named = order(decode_request(make_csr(common_name="Taro")), CLIENT, (OTHER,), RULE_SETS[-1])
    assert named.subject == encode_name(COLLEGE | {"common_name": "Taro"})


@pytest.mark.parametrize("name", [*PROFILES])
def test_profiles_are_found_under_their_own_names(name: str) -> None:
    assert PROFILES[name].name == name


class TestDomains:
    def test_labels_are_compared_whole(self) -> None:
        assert is_under("a.example.ac.jp", "example.ac.jp")
        assert is_under("example.ac.jp", "example.ac.jp")
        assert not is_under("evilexample.ac.jp", "example.ac.jp")
        assert not is_under("ac.jp", "example.ac.jp")

    @pytest.mark.parametrize("suffix", ["jp", "ac.jp", "CO.jp", "com", "co.uk"])
    def test_a_public_suffix_is_no_ones_domain(self, suffix: str) -> None:
        with pytest.raises((SetupRefused, NameRefused)):
            check_registrable(suffix, ())

    @pytest.mark.parametrize("domain", ["example.ac.jp", "lab.example.ac.jp", "EXAMPLE.AC.JP"])
    def test_domains_do_not_overlap(self, domain: str) -> None:
        with pytest.raises(SetupRefused, match="overlaps 'example.ac.jp'"):
            check_registrable(domain, ["example.ac.jp"])

    def test_a_wildcard_is_no_domain(self) -> None:
        with pytest.raises(NameRefused):
            check_registrable("*.example.ac.jp", ())

    def test_a_name_of_254_octets_is_too_long(self) -> None:
        longest = ".".join(["a" * 61] * 4) + ".jp.jp"
        assert len(longest) == 253
        assert normalise(longest) == longest
        with pytest.raises(NameRefused):
            normalise("a" + longest)
