"""Keys at rest, signers, the home that names them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca_store.errors import Conflict, KeyUnavailable
from ca_store.home import Home, HomeError
from ca_store.keys import KeyStore, write_private
from ca_store.signing import ECDSA_SHA256, ECDSA_SHA384, SHA256_RSA, SHA512_RSA, KeyType

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = b"a passphrase of these tests"


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path, PASSPHRASE)


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.P256, KeyType.P384])
def test_a_key_is_kept_encrypted_and_signs_the_same_way_twice(
    keys: KeyStore, tmp_path: Path, key_type: KeyType
) -> None:
    keys.generate("file:keys/a.key", key_type)
    file = tmp_path / "keys/a.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["a.key"]
    signer = keys.load("file:keys/a.key")
    signature = signer.sign(b"message")
    assert signature == keys.load("file:keys/a.key").sign(b"message") != signer.sign(b"other")
    assert len(signature) <= signer.signature_size
    public = serialization.load_der_public_key(signer.public_key)
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())
        assert signer.algorithm is SHA256_RSA
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        small = key_type is KeyType.P256
        public.verify(signature, b"message", ec.ECDSA(hashes.SHA256() if small else hashes.SHA384()))
        assert signer.algorithm is (ECDSA_SHA256 if small else ECDSA_SHA384)
    assert signer.slow is (key_type is not KeyType.P256)


def test_the_largest_signature_is_never_exceeded(keys: KeyStore) -> None:
    keys.generate("file:keys/a.key", KeyType.P256)
    signer = keys.load("file:keys/a.key")
    sizes = {len(signer.sign(number.to_bytes(4, "big"))) for number in range(2000)}
    assert max(sizes) == signer.signature_size == 72


def test_another_digest_can_be_chosen(keys: KeyStore) -> None:
    keys.generate("file:keys/a.key", KeyType.RSA_2048)
    signer = keys.load("file:keys/a.key", SHA512_RSA)
    public = serialization.load_der_public_key(signer.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signer.sign(b"m"), b"m", padding.PKCS1v15(), hashes.SHA512())
    with pytest.raises(KeyUnavailable, match="cannot sign with ecdsa-with-SHA256"):
        keys.load("file:keys/a.key", ECDSA_SHA256)


def test_a_key_is_never_overwritten(keys: KeyStore, tmp_path: Path) -> None:
    keys.generate("file:keys/a.key", KeyType.P256)
    before = (tmp_path / "keys/a.key").read_bytes()
    with pytest.raises(Conflict, match="never overwritten"):
        keys.generate("file:keys/a.key", KeyType.P256)
    assert (tmp_path / "keys/a.key").read_bytes() == before


def test_a_key_that_cannot_be_written_leaves_nothing(keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder should be")
    with pytest.raises(KeyUnavailable, match="cannot be written"):
        keys.generate("file:keys/a.key", KeyType.P256)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(keys: KeyStore, tmp_path: Path, mode: int) -> None:
    keys.generate("file:keys/a.key", KeyType.P256)
    (tmp_path / "keys/a.key").chmod(mode)
    with pytest.raises(KeyUnavailable, match=f"mode must be 0600, not {mode:04o}"):
        keys.load("file:keys/a.key")


def test_keys_that_cannot_be_used(keys: KeyStore, tmp_path: Path) -> None:
    keys.generate("file:keys/a.key", KeyType.P256)
    with pytest.raises(KeyUnavailable, match="passphrase"):
        KeyStore(tmp_path, b"wrong").load("file:keys/a.key")
    with pytest.raises(KeyUnavailable, match="does not exist"):
        keys.load("file:keys/none.key")
    for reference in ("pkcs11:token=a;object=b", "keys/a.key", "file:", ""):
        with pytest.raises(KeyUnavailable, match="not a key reference known here"):
            keys.load(reference)
    with pytest.raises(KeyUnavailable, match="outside the home"):
        keys.load("file:../elsewhere.key")
    with pytest.raises(KeyUnavailable, match="is not a file"):
        keys.load("file:keys")
    write_private(tmp_path / "text.key", b"no key")
    with pytest.raises(KeyUnavailable, match="not a private key"):
        keys.load("file:text.key")
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    plain = ec.generate_private_key(ec.SECP256R1()).private_bytes(*formats, serialization.NoEncryption())
    write_private(tmp_path / "plain.key", plain)
    with pytest.raises(KeyUnavailable, match="is not encrypted"):
        keys.load("file:plain.key")
    locked = serialization.BestAvailableEncryption(PASSPHRASE)
    write_private(tmp_path / "p521.key", ec.generate_private_key(ec.SECP521R1()).private_bytes(*formats, locked))
    with pytest.raises(KeyUnavailable, match="not supported"):
        keys.load("file:p521.key")


def write_home(folder: Path, text: str) -> Path:
    (folder / "responders.toml").write_text(text)
    return folder


def test_a_home_resolves_what_it_names(tmp_path: Path) -> None:
    home = Home.open(write_home(tmp_path, '[server]\nlisten = "127.0.0.1:80"\n'))
    assert home.database_url == f"sqlite:///{tmp_path}/ca.db"
    assert home.document["server"] == {"listen": "127.0.0.1:80"}
    (tmp_path / "keys").mkdir()
    write_private(tmp_path / "keys/passphrase", PASSPHRASE + b"\n")
    assert home.passphrase() == PASSPHRASE
    home.keys().generate("file:keys/a.key", KeyType.P256)
    written = Home.open(write_home(tmp_path, '[database]\nurl = "postgresql://u:p%40ss@db.example/ca"\n'))
    assert written.database_url == "postgresql+psycopg://u:p%40ss@db.example/ca"
    assert written.read_url is None
    spread = (
        '[database]\nurl = "postgresql://u@a:1,b:2/ca"\nread_url = "postgresql://u@c,d/ca?load_balance_hosts=random"\n'
    )
    several = Home.open(write_home(tmp_path, spread))
    assert several.database_url == "postgresql+psycopg://u@/ca?host=a%3A1&host=b%3A2"
    assert several.read_url == "postgresql+psycopg://u@/ca?host=c&host=d&load_balance_hosts=random"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not toml", "is not TOML"),
        ('[database]\nurl = "mysql://h/d"', "database.url: mysql is not supported: use sqlite or postgresql"),
        ('[database]\nurl = "nonsense"', "database.url: this is not a database URL"),
        ('[database]\nurl = "sqlite://"', "database.url: an SQLite database needs a file"),
        ('[database]\nurl = "postgresql://[::1],[::2]/d"', "database.url: several hosts need names or IPv4 addresses"),
        ('[database]\nread_url = "postgresql://h/d"', "database.read_url: only PostgreSQL has replicas"),
        (
            '[database]\nurl = "postgresql://h/d"\nread_url = "sqlite:///x"',
            "database.read_url: only PostgreSQL has replicas",
        ),
        ("[database]\nurl = 5", "database.url must be a text that is not empty"),
        ('[database]\nuri = "x"', "database.uri is not a known setting"),
        ("database = 5", "database must be a table"),
        ('[keys]\npassphrase = "x"', "keys.passphrase is not a known setting"),
    ],
    ids=lambda value: value[:30],
)
def test_a_configuration_that_cannot_be_used_names_file_and_field(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(HomeError, match="responders.toml") as refused:
        Home.open(write_home(tmp_path, text))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value).strip()


def test_a_folder_that_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="run `issuance init`"):
        Home.open(tmp_path)
    home = Home.open(write_home(tmp_path, ""))
    with pytest.raises(KeyUnavailable, match="passphrase does not exist"):
        home.keys()
    (tmp_path / "keys").mkdir()
    write_private(tmp_path / "keys/passphrase", b"\n")
    with pytest.raises(KeyUnavailable, match="is empty"):
        home.keys()


def test_a_damaged_rsa_key_is_refused(keys: KeyStore, tmp_path: Path) -> None:
    """Its exponents are wrong: decryption succeeds, and nothing it signed would verify."""
    key = rsa.generate_private_key(65537, 2048).private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        key.p, key.q, key.d + 2, key.dmp1 + 2, key.dmq1 + 2, key.iqmp, key.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    encoded = damaged.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE),
    )
    write_private(tmp_path / "damaged.key", encoded)
    with pytest.raises(KeyUnavailable, match="is damaged"):
        keys.load("file:damaged.key")
