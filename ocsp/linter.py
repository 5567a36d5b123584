"""pkilint over OCSP answers, where it is installed (the extra ``lint``)."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_DISTRIBUTION: Final = "pkilint"


class LinterMissing(Exception):  # noqa: N818 - named as its meaning
    """pkilint cannot be used; one sentence that says why."""


class LintFinding(NamedTuple):
    """One thing that the linter frowns upon."""

    error: bool
    """Against a MUST, rather than against a SHOULD."""
    rule: str
    """pkilint's own code for it."""
    sentence: str


class Linter:
    """RFC 6960's rules as pkilint reads them. Raises LinterMissing when it is made without pkilint.

    The import takes half a second and tens of mebibytes, so it belongs into a process that ends soon.
    """

    def __init__(self) -> None:
        try:
            self.version = metadata.version(_DISTRIBUTION)
            modules = [
                importlib.import_module(f"{_DISTRIBUTION}.{each}")
                for each in ("loader", "pkix", "pkix.extension", "pkix.name", "pkix.ocsp", "validation")
            ]
        except metadata.PackageNotFoundError:
            raise LinterMissing("pkilint is not installed") from None
        except Exception as error:
            raise LinterMissing(f"pkilint cannot be loaded: {error}") from error
        loader, pkix, extension, name, ocsp, validation = modules
        self._severity: Any = validation.ValidationFindingSeverity
        self._load: Any = loader.RFC6960OCSPResponseDocumentLoader().load_der_document
        self._validator: Any = ocsp.create_pkix_ocsp_response_validator_container(
            [
                ocsp.create_response_decoder(),
                pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
                pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
            ],
            [],
        )

    def lint(self, answer: bytes) -> Iterator[LintFinding]:
        """What is wrong with an OCSPResponse, or not recommended."""
        try:
            results = self._validator.validate(self._load(answer, "answer").root)
        except Exception as error:  # noqa: BLE001 - what a linter cannot digest is a finding about the answer
            yield LintFinding(True, "unreadable", f"the linter cannot read the answer: {error}")
            return
        for result in results:
            for described in result.finding_descriptions:
                finding = described.finding
                if finding.severity <= self._severity.WARNING:
                    sentence = f"{result.node.path}: {described.message or 'see the rule'}"
                    yield LintFinding(finding.severity <= self._severity.ERROR, finding.code, sentence)
