"""Canonical JSON, the key's file, and signatures: nothing but what was signed passes."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import ReceiptKeyUnusable
from controller.signing import (
    MAX_DOCUMENT_BYTES,
    NotGenuine,
    SigningKey,
    canonical,
    read_public_key,
    read_signing_key,
    verified,
)

KEY = SigningKey(Ed25519PrivateKey.generate())
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [None, True, {}]}, b'{"a":[null,true,{}],"b":1}'),
        ({"\u00e4": 1, "z": 2, "Z": 3, "\U0001f600": 4, "\uffff": 5},
         '{"Z":3,"z":2,"\u00e4":1,"\uffff":5,"\U0001f600":4}'.encode()),
        ([60.0, 1e-05, -0.0, 1e16, 1.5e300, 2**63], b"[60.0,1e-05,-0.0,1e+16,1.5e+300,9223372036854775808]"),
        ('"\\/\n\x1f\x7f\u2028', '"\\"\\\\/\\n\\u001f\x7f\u2028"'.encode()),
    ],
)  # fmt: skip
def test_there_is_one_way_to_write_a_document(value: Any, written: bytes) -> None:
    """Sorted by code points, no blanks, UTF-8, numbers as Python writes them: as docs/receipts.md says."""
    assert canonical(value) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}, "\ud800", {"\udfff": 1}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """NaN, infinities, halves of characters: another reader would see something else, or nothing."""
    with pytest.raises(ValueError):
        canonical(value)


@given(VALUES)
def test_canonical_json_is_read_back_as_it_was(value: Any) -> None:
    """Nothing is lost, and what is read is written just so again."""
    data = canonical(value)

    assert json.loads(data) == value
    assert canonical(json.loads(data)) == data


@given(st.dictionaries(TEXT, LEAVES))
def test_the_order_of_members_does_not_matter(document: dict[str, Any]) -> None:
    """Two equal documents are the same bytes."""
    assert canonical(dict(reversed(document.items()))) == canonical(document)


@given(st.dictionaries(TEXT.filter(lambda name: name != "signature"), VALUES))
def test_what_was_signed_is_verified(document: dict[str, Any]) -> None:
    """With the key that it names and with the one that is given; and it is the document that was signed."""
    data = KEY.signed(document)

    read, signer = verified(data, KEY.public)

    assert signer == KEY.public
    assert {name: value for name, value in read.items() if name != "signature"} == document
    assert verified(data + b"\n") == (read, signer)


@given(st.binary(max_size=200) | TEXT.map(str.encode) | VALUES.map(canonical))
def test_what_was_not_signed_is_refused(data: bytes) -> None:
    """Any bytes: a NotGenuine with words, never another exception."""
    with pytest.raises(NotGenuine, match=r"^it "):
        verified(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" * 1_000_000, id="deep"),
        pytest.param(b'{"a":' * 100_000, id="deep-objects"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}", id="long-number"),
        pytest.param(b" " * (MAX_DOCUMENT_BYTES + 1), id="large"),
        pytest.param(b'{"a":1e999}', id="infinite"),
        pytest.param(b'{"a":"\\ud800"}', id="half-a-character"),
        pytest.param(b'{"signature":{"algorithm":"Ed25519"}}', id="half-a-block"),
        pytest.param(b'{"signature":[]}', id="no-block"),
    ],
)
def test_documents_made_to_break_the_reader_are_refused(data: bytes) -> None:
    """Deep, long, large or odd."""
    with pytest.raises(NotGenuine):
        verified(data)


def resigned(**change: str) -> bytes:
    """A signed document whose signature block was changed."""
    document = json.loads(KEY.signed({"a": 1}))
    document["signature"] |= change
    return canonical(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algorithm": "none"}, "not made with Ed25519"),
        ({"key_id": "0" * 64}, "key_id"),
        ({"public_key": "AAAA"}, "key_id"),
        ({"public_key": "\u00e4"}, "base64"),
        ({"signature": ""}, "changed since"),
        ({"signature": "AA==\n"}, "base64"),
        ({"signature": "AB=="}, "as it is written here"),
        ({"comment": "mine"}, "no signature"),
    ],
)
def test_a_changed_signature_block_is_refused(change: dict[str, str], words: str) -> None:
    """Each of its members, and one more; base64 has one form only."""
    with pytest.raises(NotGenuine, match=words):
        verified(resigned(**change))


def test_a_signature_of_something_else_is_none_of_a_document() -> None:
    """Without the words ahead of it, the same key's signature over the same bytes means nothing."""
    secret = Ed25519PrivateKey.generate()
    other = json.loads(SigningKey(secret).signed({"a": 1}))
    other["signature"]["signature"] = base64.b64encode(secret.sign(canonical({"a": 1}))).decode()

    with pytest.raises(NotGenuine, match="changed since"):
        verified(canonical(other))


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    """The same key at every start, readable by the server alone; nothing else is left beside it."""
    old = os.umask(0)
    try:
        first = read_signing_key(tmp_path / "receipt.key")
    finally:
        os.umask(old)

    again = read_signing_key(tmp_path / "receipt.key")

    assert first.public == again.public
    assert (tmp_path / "receipt.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["receipt.key"]
    assert read_public_key(first.public.pem()) == first.public


def pem(key: Any, encryption: Any = None) -> bytes:
    """A private key's file."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())


DAMAGED = {
    "empty": b"",
    "junk": os.urandom(200),
    "cut": pem(Ed25519PrivateKey.generate())[:-40],
    "public": KEY.public.pem(),
    "with a password": pem(Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"x")),
    "RSA": pem(rsa.generate_private_key(65537, 2048)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    """The message names the file and what to do; what was there is not written over."""
    file = tmp_path / "receipt.key"
    file.write_bytes(DAMAGED[kind])

    with pytest.raises(ReceiptKeyUnusable, match="restore it from a backup") as caught:
        read_signing_key(file)

    assert str(file) in caught.value.detail
    assert file.read_bytes() == DAMAGED[kind]


@pytest.mark.parametrize("kind", ["directory", "dangling link", "no directory"])
def test_a_key_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    """A directory in its place, a link to nothing, no place for it."""
    file = tmp_path / "receipt.key"
    if kind == "directory":
        file.mkdir()
    elif kind == "dangling link":
        file.symlink_to(tmp_path / "nothing")
    else:
        file = tmp_path / "nowhere" / "receipt.key"

    with pytest.raises(ReceiptKeyUnusable, match="cannot be read or made"):
        read_signing_key(file)


@pytest.mark.parametrize("data", [b"", b"junk", pem(Ed25519PrivateKey.generate())])
def test_what_is_no_public_key_is_refused(data: bytes) -> None:
    """The secret half is none either."""
    with pytest.raises(ValueError, match="no public key"):
        read_public_key(data)


def test_another_kind_of_public_key_is_refused() -> None:
    """An RSA key, say."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    data = rsa.generate_private_key(65537, 2048).public_key().public_bytes(serialization.Encoding.PEM, form)

    with pytest.raises(ValueError, match="not Ed25519"):
        read_public_key(data)
