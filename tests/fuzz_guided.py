"""Coverage-guided fuzzing of one reader, by atheris (extra ``fuzz``): ``fuzz_guided.py TARGET CORPUS [libFuzzer's]``.

libFuzzer keeps in CORPUS what reached something new, and ends this process; what failed is in ``crash-*`` there.
"""

from __future__ import annotations

import logging
import sys
from itertools import count
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["ocsp", "tsa", "ca_store.der", "responders.ocsp_http", "asn1crypto.parser"]):
    from fuzz_targets import make_target, mutator
    from mutation import Mutator

_OWN_CHANGES: Final = 3
"""Of so many mutants one is made by libFuzzer's knowledge of the code, the others by ours of DER."""


def main() -> None:
    """Fuzz until libFuzzer has had its runs or its time."""
    name, corpus, *options = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    target = make_target(name)
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(octets)
    mutants, turns = mutator(target, 1), count()

    def change(octets: bytes, most: int, number: int) -> bytes:
        if not next(turns) % _OWN_CHANGES:
            changed: bytes = atheris.Mutate(octets, most)
            return changed
        return Mutator([octets], number).change(octets)[:most]

    def check(octets: bytes) -> None:
        target.check(octets)
        target.check(mutants.next())

    setting = [sys.argv[0], *options, f"-artifact_prefix={folder}/", str(folder)]
    atheris.Setup(setting, check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
