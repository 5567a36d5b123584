"""The DER of a certificate: assembled with asn1crypto, signed by a ``Signer``, checked with cryptography.

cryptography's own builder wants the private-key object, which no code outside ``ca_store`` sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asn1crypto import algos, core, keys, x509
from cryptography import x509 as checked_x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from issuance.errors import IssuanceError
from issuance.profile import AlternativeNames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.signing import Signer
    from issuance.profile import Profile

FIRST_GENERALIZED_TIME: Final = int(datetime(2050, 1, 1, tzinfo=UTC).timestamp())
"""POSIX seconds; UTCTime ends before (RFC 5280 §4.1.2.5)."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """URLs about the issuer."""

    ocsp: str
    certificate: str
    crl: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a certificate will say. Times are POSIX seconds."""

    profile: Profile
    serial: int
    subject: bytes
    """DER Name."""
    public_key: bytes
    """DER SubjectPublicKeyInfo."""
    not_before: int
    not_after: int
    issuer: bytes | None
    """DER of the CA certificate; None for a self-signed one."""
    pointers: Pointers | None = None
    names: tuple[str, ...] = ()


def encode_name(attributes: Mapping[str, str]) -> bytes:
    """DER Name, one attribute an RDN, in the order C, ST, L, O, CN of asn1crypto's names (BR §7.1.4.2).

    countryName is a PrintableString and the rest UTF8String.
    """
    return bytes(x509.Name.build(dict(attributes)).dump())


def time_choice(seconds: int) -> x509.Time:
    """UTCTime up to 2049, GeneralizedTime after (RFC 5280 §4.1.2.5)."""
    moment = datetime.fromtimestamp(seconds, UTC)
    if seconds < FIRST_GENERALIZED_TIME:
        return x509.Time(name="utc_time", value=x509.UTCTime(moment))
    return x509.Time(name="general_time", value=core.GeneralizedTime(moment))


def signature_algorithm(signer: Signer) -> algos.SignedDigestAlgorithm:
    """The signer's AlgorithmIdentifier, octet for octet."""
    return algos.SignedDigestAlgorithm.load(signer.algorithm.identifier)


def key_identifier(public_key: bytes) -> bytes:
    """SHA-1 of the subjectPublicKey contents (RFC 5280 §4.2.1.2, method 1): the key hash of OCSP, too."""
    return checked_x509.SubjectKeyIdentifier.from_public_key(load_der_public_key(public_key)).digest  # type: ignore[arg-type]  # whatever key it is, its octets are hashed


def authority_key_identifier(issuer: bytes) -> x509.AuthorityKeyIdentifier:
    """KeyIdentifier only, as the CA certificate ``issuer`` states it."""
    certificate = x509.Certificate.load(issuer)
    return x509.AuthorityKeyIdentifier({"key_identifier": certificate.key_identifier})


def assemble(contents: Contents, signer: Signer, extensions: Sequence[bytes] = ()) -> bytes:
    """Sign a certificate; its DER. ``extensions`` (DER) follow those of its profile. Raises KeyUnavailable, and
    IssuanceError when the result fails its check.
    """
    algorithm = signature_algorithm(signer)
    # RFC 5280 §4.1.2.4: name chaining compares bytes, so the issuer field is the CA's subject as it was encoded.
    subject = x509.Name.load(contents.subject)
    issuer = subject if contents.issuer is None else x509.Certificate.load(contents.issuer).subject
    to_be_signed = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": contents.serial,
            "signature": algorithm,
            "issuer": issuer,
            "validity": {
                "not_before": time_choice(contents.not_before),
                "not_after": time_choice(contents.not_after),
            },
            "subject": subject,
            "subject_public_key_info": keys.PublicKeyInfo.load(contents.public_key),
            "extensions": [
                {"extn_id": name, "critical": critical, "extn_value": value}
                for name, critical, value in _extensions(contents)
            ]
            + [x509.Extension.load(extension) for extension in extensions],
        }
    )
    der = bytes(
        x509.Certificate(
            {
                "tbs_certificate": to_be_signed,
                "signature_algorithm": algorithm,
                "signature_value": signer.sign(to_be_signed.dump()),
            }
        ).dump()
    )
    _check(der, contents)
    return der


def _extensions(contents: Contents) -> list[tuple[str, bool, Any]]:
    profile = contents.profile
    own = key_identifier(contents.public_key)
    found: list[tuple[str, bool, Any]] = [
        (
            "authority_key_identifier",
            False,
            authority_key_identifier(contents.issuer)
            if contents.issuer is not None
            else x509.AuthorityKeyIdentifier({"key_identifier": own}),
        ),
        ("key_identifier", False, core.OctetString(own)),
        ("key_usage", True, x509.KeyUsage(set(_key_usage(contents)))),
    ]
    if profile.ca:
        found.append(
            (
                "basic_constraints",
                True,
                x509.BasicConstraints({"ca": True, "path_len_constraint": profile.path_length}),
            )
        )
    if profile.extended_key_usage:
        usage = x509.ExtKeyUsageSyntax(profile.extended_key_usage)
        found.append(("extended_key_usage", profile.extended_key_usage_critical, usage))
    if profile.policies:
        policies = [{"policy_identifier": policy} for policy in profile.policies]
        found.append(("certificate_policies", False, x509.CertificatePolicies(policies)))
    if profile.alternative_names is not AlternativeNames.NONE:
        names = [x509.GeneralName(profile.alternative_names.value, name) for name in contents.names]
        found.append(("subject_alt_name", False, x509.GeneralNames(names)))
    if contents.pointers is not None:
        found += _pointers(contents.pointers)
    if profile.private_key_usage is not None:
        found.append(("private_key_usage_period", False, _private_key_usage(contents)))
    if profile.ocsp_no_check:
        found.append(("ocsp_no_check", False, core.Null()))
    return found


def _key_usage(contents: Contents) -> frozenset[str]:
    is_rsa = isinstance(load_der_public_key(contents.public_key), rsa.RSAPublicKey)
    return contents.profile.key_usage | (contents.profile.rsa_key_usage if is_rsa else frozenset())


def _pointers(pointers: Pointers) -> list[tuple[str, bool, Any]]:
    def url(value: str) -> x509.GeneralName:
        return x509.GeneralName("uniform_resource_identifier", value)

    access = [
        {"access_method": "ocsp", "access_location": url(pointers.ocsp)},
        {"access_method": "ca_issuers", "access_location": url(pointers.certificate)},
    ]
    crl = {"distribution_point": x509.DistributionPointName("full_name", [url(pointers.crl)])}
    return [
        ("crl_distribution_points", False, x509.CRLDistributionPoints([crl])),
        ("authority_information_access", False, x509.AuthorityInfoAccessSyntax(access)),
    ]


def _private_key_usage(contents: Contents) -> x509.PrivateKeyUsagePeriod:
    period = contents.profile.private_key_usage
    assert period is not None  # noqa: S101 - the caller looked
    end = min(period.last_second(contents.not_before), contents.not_after)
    return x509.PrivateKeyUsagePeriod(
        {
            "not_before": datetime.fromtimestamp(contents.not_before, UTC),
            "not_after": datetime.fromtimestamp(end, UTC),
        }
    )


def _check(der: bytes, contents: Contents) -> None:
    """Another implementation reads what was made, and the signature is the issuer's."""
    made = checked_x509.load_der_x509_certificate(der)
    issuer = made if contents.issuer is None else checked_x509.load_der_x509_certificate(contents.issuer)
    try:
        made.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        raise IssuanceError(
            "the signed certificate does not verify under its issuer: the CA's key is not its own"
        ) from None
    if (made.serial_number, made.subject.public_bytes()) != (contents.serial, contents.subject):
        raise IssuanceError("the signed certificate does not say what was to be certified")
