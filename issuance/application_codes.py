"""The codes and sentences that an applicant gets, in Japanese and English.

Numbers below 900 are those of the service that this is modelled on, as far as they are public; the others are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from issuance.errors import IssuanceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from issuance.application_columns import Column

ACCEPTED: Final = "0"

CODES: Final[Mapping[str, str]] = {
    "201": "{}は入力必須項目です。",
    "202": "{}は{}桁以内で入力してください。",
    "204": "{}は半角数字で入力してください。",
    "205": "{}に使用できない文字が含まれています。",
    "206": "{}の形式が正しくありません。",
    "208": "ファイルが存在しません。",
    "209": "ファイルの拡張子はtsvまたはtxtにしてください。",
    "212": "{}は既に存在します。更新申請を行ってください。",
    "213": "ファイルの内容が空です。",
    "214": "1ファイルで申請できる件数は{limit}件までです。",
    "338": "CAAレコードの確認により発行できません。対象FQDN: {names}",
    "900": "ファイルの文字コードはシフトJIS(BOMなし)にしてください。",
    "901": "{}にシフトJIS(JIS X 0208)以外の文字が含まれています。",
    "902": "項目数が正しくありません。タブ区切りで{limit}項目にしてください。",
    "903": "{}にダブルクォーテーションは使用できません。",
    "904": "{}は空欄にしてください。",
    "905": "{}は利用できないプロファイルIDです。",
    "906": "{}のCSRまたは公開鍵は受け付けられません。",
    "907": "{}のFQDNは受け付けられません。",
    "908": "{}の証明書は更新または失効の対象になりません。",
    "909": "{}の失効理由は受け付けられません。",
    "910": "{}の指定は提供されていません。",
    "911": "発行できませんでした。管理者に連絡してください。",
}
"""What each says in Japanese: slots for the column, its limit, or the names in question."""


@dataclass(eq=False)
class ApplicationRefused(IssuanceError):  # noqa: N818 - named as its meaning
    """A row, or a whole file, that is refused; ``sentence`` is the English one."""

    code: str
    sentence: str
    column: Column | None = None
    limit: int | None = None
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The English sentence with its code."""
        return f"{self.code}: {self.sentence}"

    @property
    def japanese(self) -> str:
        """The Japanese sentence."""
        column = "" if self.column is None else self.column.japanese
        return CODES[self.code].format(column, self.limit, limit=self.limit, names=", ".join(self.names))
