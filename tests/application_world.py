"""Files of applications, and a core of their own for tests that carry them out."""

from __future__ import annotations

import base64
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fakes import ManualClock
from issuance_world import add_ca, make_csr, private_key, small_core

from ca_store.database import open_issuance_store
from ca_store.keys import KeyStore
from ca_store.signing import KeyType
from issuance.application import Applications, Delivery
from issuance.application_columns import Action
from issuance.application_file import ENCODING, split_lines
from issuance.core import Core
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.distinguished_name import parse_name
from issuance.institution import register
from issuance.officer import enrol
from issuance.profile import CLIENT
from issuance.rule_set import RULE_SETS
from issuance.settings import Settings
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from issuance_world import PrivateKey

    from ca_store.types import Officer
    from issuance.application import Outcome
    from issuance.rule_set import RuleSet

OWN = "O=Example University,L=Chiyoda-ku,ST=Tokyo,C=JP"
OTHERS = "O=Other College,L=Kyoto-shi,ST=Kyoto,C=JP"
_OIDS = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
}


def csr_column(dn: str, key: PrivateKey | str = "p384", names: Sequence[x509.GeneralName] = ()) -> str:
    """A CSR of this DN as its column holds it."""
    subject = x509.Name([x509.NameAttribute(_OIDS[key], value) for key, value in reversed(parse_name(dn).attributes)])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = private_key(key) if isinstance(key, str) else key
    return base64.b64encode(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


def server_row(host: str = "www.example.ac.jp", own: str = OWN, **changed: str) -> list[str]:
    """The columns of an application for a server certificate of the ECC CA."""
    dn = f"CN={host},{own}"
    row = {
        "dn": dn,
        "profile": "11",
        "3": "",
        "serial": "",
        "5": "",
        "6": "",
        "csr": changed.get("csr") or csr_column(changed.get("dn", dn)),
        "name": "山田太郎",
        "unit": "情報基盤センター",
        "mail": "taro@example.ac.jp",
        "fqdn": host,
        "software": "nginx 1.22",
        "names": "",
    }
    return list((row | changed).values())


def client_row(name: str = "Taro Yamada", own: str = OWN, **changed: str) -> list[str]:
    """The columns of an application for a client certificate."""
    row = {
        "dn": f"CN={name},{own}",
        "profile": "5",
        "download": "1",
        "serial": "",
        "5": "",
        "6": "",
        "7": "",
        "name": "佐藤花子",
        "unit": "総務部",
        "mail": "hanako@example.ac.jp",
        "user": "山田太郎",
        "file": "taro",
        "user_unit": "理学部",
        "user_mail": "taro@example.ac.jp",
        "pin": "s3cret-PIN",
    }
    return list((row | changed).values())


def revocation_row(dn: str, serial: int | str, reason: str = "4", comment: str = "", profile: str = "11") -> list[str]:
    """The columns of an application for a revocation."""
    return [dn, profile, "", str(serial), reason, comment]


def encode(*rows: Sequence[str]) -> bytes:
    """A file as Windows writes it."""
    return "".join("\t".join(row) + "\r\n" for row in rows).encode(ENCODING)


class Desk:
    """An officer at a core with CAs for servers (ECC), clients and code signing."""

    def __init__(self, core: Core, folder: Path) -> None:
        self.core = core
        self.reported: list[str] = []
        self.out, self.pins = folder / "out", folder / "pins"
        for each in (self.out, self.pins):
            each.mkdir()

    @property
    def officer(self) -> Officer:
        """Hanako of the demo's institution."""
        return self.core.store.officers()[0]

    def apply(
        self,
        *rows: Sequence[str],
        action: Action = Action.ISSUE,
        rules: RuleSet = RULE_SETS[-1],
        dry_run: bool = False,
        officer: Officer | None = None,
        delivery: Delivery | None = None,
    ) -> list[Outcome]:
        """What became of each row."""
        applications = Applications(
            self.core,
            officer or self.officer,
            rules,
            Delivery(self.out, self.pins) if delivery is None else delivery,
            dry_run=dry_run,
            report=self.reported.append,
        )
        return list(applications.carry_out(split_lines(encode(*rows)), action))

    def one(self, row: Sequence[str], action: Action = Action.ISSUE, rules: RuleSet = RULE_SETS[-1]) -> Outcome:
        """What became of the only row."""
        (outcome,) = self.apply(row, action=action, rules=rules)
        return outcome

    def certificate(self, serial: int | None) -> x509.Certificate:
        """What was issued under a serial."""
        assert serial is not None
        (der,) = [each.der for each in self.core.store.certificates() if each.serial == serial]
        assert der is not None
        return x509.load_der_x509_certificate(der)


def furnish(folder: Path) -> None:
    """A folder with the database and keys of such a core."""
    (folder / "keys").mkdir(mode=0o700)
    core = small_core(folder, ManualClock())
    register(core, "Other College", country="JP", state="Kyoto", locality="Kyoto-shi", domains=["other.ac.jp"])
    add_ca(core, "root", "root", key=KeyType.RSA_3072)
    add_ca(core, "server", "server", "root")
    issuer = add_ca(core, "client", "client", "root", KeyType.RSA_3072)
    for organization in (INSTITUTION.name, "Other College"):
        request = decode_request(make_csr(common_name="Hanako", organization=organization))
        der = issue_from_request(core, issuer, CLIENT, request)[1]
        enrol(core, "Hanako", institution=organization, mail="hanako@example.ac.jp", certificate=der)
    core.store.close()


@contextmanager
def desk(furnished: Path, folder: Path) -> Iterator[Desk]:
    """A copy of a furnished folder, opened."""
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    store = open_issuance_store(f"sqlite:///{folder / 'ca.db'}")
    try:
        yield Desk(Core(store, KeyStore(folder, b"a passphrase"), Settings(caa=False), ManualClock()), folder)
    finally:
        store.close()
