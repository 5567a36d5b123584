"""The columns of applications, as data: one layout for each kind of certificate and action."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from issuance.profile import CLIENT, CODE_SIGNING, SERVER, SMIME

if TYPE_CHECKING:
    from issuance.rule_set import RuleSet


class Action(enum.StrEnum):
    """What is applied for."""

    ISSUE = "issue"
    RENEW = "renew"
    REVOKE = "revoke"


class Presence(enum.Enum):
    """Whether a column is filled."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    EMPTY = "must be empty"


class Form(enum.Enum):
    """What a column is made of."""

    ASCII = "half-width characters"
    DIGITS = "half-width digits"
    TEXT = "full-width or half-width characters"
    MAIL = "a mail address: letters, digits and - _ @ ."
    COMMENT = "letters, digits, spaces and ' ( ) , - . / : = @ _"


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    key: str
    english: str
    japanese: str
    limit: int
    """Characters."""
    form: Form = Form.ASCII
    presence: Presence = Presence.REQUIRED
    note: str = ""


_DN: Final = Column("dn", "subject DN", "主体者DN", 250, note="CN=...,OU=...,O=...,L=...,ST=...,C=JP")
_PROFILE: Final = Column("profile", "profile ID", "プロファイルID", 2, Form.DIGITS)
_SERIAL: Final = Column("serial", "serial number", "証明書シリアル番号", 50, note="decimal, or 0x and hexadecimal")
_REASON: Final = Column("reason", "revocation reason", "失効理由", 2, Form.DIGITS, note="0, 1, 3, 4 or 5 of RFC 5280")
_COMMENT: Final = Column(
    "comment", "reason comment", "失効理由コメント", 128, Form.COMMENT, Presence.OPTIONAL, "required for reason 0"
)
_CSR: Final = Column("csr", "CSR", "CSR", 2048, note="base64 on one line, with or without PEM markers")
_NAME: Final = Column("name", "manager's name", "利用管理者氏名", 64, Form.TEXT)
_UNIT: Final = Column("unit", "manager's affiliation", "利用管理者所属", 64, Form.TEXT)
_MAIL: Final = Column("mail", "manager's mail address", "利用管理者メールアドレス", 78, Form.MAIL)
_FQDN: Final = Column("fqdn", "FQDN", "サーバFQDN", 64, note="equal to the CN")
_SOFTWARE: Final = Column("software", "software and version", "サーバソフトウェア名・バージョン", 128, Form.TEXT)
_NAMES: Final = Column(
    "names", "dNSNames", "dNSName", 250, presence=Presence.OPTIONAL, note="further FQDNs, with commas between them"
)
_DOWNLOAD: Final = Column(
    "download", "download method", "ダウンロード方法", 1, Form.DIGITS, note="1 PKCS #12, 2 PKCS #12 in bulk, 3 browser"
)
_USER: Final = Column("user", "user's name", "利用者氏名", 64, Form.TEXT)
_FILE: Final = Column("file", "PKCS #12 file name", "P12ダウンロードファイル名", 64, presence=Presence.OPTIONAL)
_USER_UNIT: Final = Column("user_unit", "user's affiliation", "利用者所属", 64, Form.TEXT)
_USER_MAIL: Final = Column("user_mail", "user's mail address", "利用者メールアドレス", 78, Form.MAIL)
_PIN: Final = Column("pin", "access PIN", "アクセスPIN", 32, presence=Presence.OPTIONAL, note="made when it is empty")


def _reserved(number: int) -> Column:
    return Column(f"reserved{number}", f"column {number}", f"{number}列目", 0, presence=Presence.EMPTY)


_SERVER: Final = (
    *(_DN, _PROFILE, _reserved(3), _reserved(4), _reserved(5), _reserved(6), _CSR, _NAME, _UNIT, _MAIL),
    *(_FQDN, _SOFTWARE, _NAMES),
)
_CODE_SIGNING: Final = tuple(
    _reserved(number) if column in (_FQDN, _NAMES) else column for number, column in enumerate(_SERVER, 1)
)
_CLIENT: Final = (
    *(_DN, _PROFILE, _DOWNLOAD, _reserved(4), _reserved(5), _reserved(6), _reserved(7), _NAME, _UNIT, _MAIL),
    *(_USER, _FILE, _USER_UNIT, _USER_MAIL, _PIN),
)
_REVOCATION: Final = (_DN, _PROFILE, _reserved(3), _SERIAL, _REASON, _COMMENT)
_LAYOUTS: Final = {
    SERVER.name: _SERVER,
    CODE_SIGNING.name: _CODE_SIGNING,
    CLIENT.name: _CLIENT,
    SMIME.name: _CLIENT,
}
PROFILE_COLUMN: Final = 1
"""Where the profile ID stands, counted from 0, in every layout."""
SERIAL_COLUMN: Final = 3


def layout(action: Action, profile: str, rules: RuleSet) -> tuple[Column, ...]:
    """The columns of an application, in order."""
    if action is Action.REVOKE:
        return _REVOCATION
    columns = list(_LAYOUTS[profile])
    if profile in (CLIENT.name, SMIME.name):
        columns = columns[: rules.client_columns]
    if action is Action.RENEW:
        columns[SERIAL_COLUMN] = replace(_SERIAL, note="of the certificate that is replaced: " + _SERIAL.note)
    return tuple(columns)


def template(action: Action, profile: str, rules: RuleSet) -> str:
    """A file without an application, each column explained in a line that begins with ``#``."""
    lines = [f"# {action.value} {profile}: one line for each application, TAB between columns, no quotes, Shift_JIS"]
    for number, column in enumerate(layout(action, profile, rules), 1):
        said = f"# {number:2} {column.japanese} / {column.english}: {column.presence.value}"
        if column.presence is not Presence.EMPTY:
            said += f", {column.limit} characters at most, {column.form.value}"
            said += f"; {column.note}" if column.note else ""
        lines.append(said)
    return "".join(f"{line}\r\n" for line in lines)
