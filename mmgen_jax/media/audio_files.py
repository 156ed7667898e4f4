"""Sound files as bytes: which formats are allowed, and whether a file is whole.

libsndfile reads what is there of a wav, aiff or ogg that is cut short, and says nothing. So their
chunks and pages are walked through here first. A flac needs no such walk: libsndfile refuses it.
"""

import io
import struct

from mmgen_jax.errors import InputError

ALLOWED = "Allowed: wav, flac, ogg, aiff, by content"
MOST_BYTES = 2**31  # of a file: 2**28 samples of 64 bits
_PAGE = struct.Struct("<4sBBqIIIB")  # an Ogg page's head, RFC 3533 section 6
_FIRST_PAGE, _LAST_PAGE = 2, 4  # of a stream: flags of its third field
# By its first bytes: byte order, name of the chunk that holds the samples.
_CHUNKED = {b"RIFF": ("<", b"data"), b"RF64": ("<", b"data"), b"RIFX": (">", b"data")}
_CHUNKED[b"FORM"] = (">", b"SSND")
# Lengths that a program writes when it cannot know them yet: sox, ffmpeg, espeak-ng into a pipe.
_OPEN_LENGTHS = range(0x7FFFF000, 2**32)


def read_whole(file: io.BufferedIOBase) -> bytes:
    """Reads a sound file, once it is known to be one of the allowed formats, and whole.

    A wav or aiff whose head says no length, as programs write it into a pipe, counts as whole where
    it ends, and is given the length that it has.

    Raises:
      InputError: if it is in another format, too large, or cut short.
    """
    head = file.read(12)
    magic = head[:4]
    chunked = magic in _CHUNKED and head[8:] in (b"WAVE", b"AIFF", b"AIFC")
    if not chunked and magic not in (b"fLaC", b"OggS") and magic[:3] != b"ID3":
        raise InputError(f"it is no sound: Format not recognised. {ALLOWED}")
    data = head + file.read(MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise InputError(f"the sound has more than {MOST_BYTES} bytes; allowed: as many")
    if magic == b"OggS":
        _check_pages(data)
    return _closed(data, *_CHUNKED[magic]) if chunked else data


def _closed(data: bytes, order: str, name: bytes) -> bytes:
    """Checks the length of the samples' chunk, and fills it in where it was left open."""
    place, long = 12, None
    while place + 8 <= len(data):
        chunk, size = struct.unpack_from(f"{order}4sI", data, place)
        start = place + 8
        if chunk == b"ds64" and start + 16 <= len(data):  # of RF64: lengths of 64 bits
            long = struct.unpack_from("<Q", data, start + 8)[0]
        if chunk == name:
            there = len(data) - start
            if data[:4] == b"RF64" and size == 2**32 - 1 and long is not None:
                size = 2**32 - 1 if long >= 2**63 or not long else long
            if size in _OPEN_LENGTHS or (not size and _is_open(data, order, start)):
                length = struct.pack(f"{order}I", there)
                return data[: place + 4] + length + data[start:] if data[:4] != b"RF64" else data
            if size > there:
                raise InputError(
                    f"the sound is cut short: {there} of {size} bytes of samples are there"
                )
            return data
        place = start + size + size % 2
    return data  # libsndfile names what is missing


def _is_open(data: bytes, order: str, end: int) -> bool:
    """Whether the file's own length was never filled in either: so no samples are not meant."""
    whole = struct.unpack_from(f"{order}I", data, 4)[0]
    return whole + 8 <= end or whole in _OPEN_LENGTHS


def _check_pages(data: bytes) -> None:
    """Raises InputError unless an Ogg file ends with a whole page that says it is the last.

    Nor may a stream begin after another has ended: libsndfile would read the first ones alone.
    """
    place, last, ended = 0, False, False
    while data[place : place + 4] == b"OggS":
        if place + _PAGE.size > len(data):
            break
        *_, flags, _, _, _, _, segments = _PAGE.unpack_from(data, place)
        table = place + _PAGE.size
        end = table + segments + sum(data[table : table + segments])
        if table + segments > len(data) or end > len(data):
            break
        if ended and flags & _FIRST_PAGE:
            raise InputError(
                "the sound is several Ogg streams, one after another, and only the first would be"
                " read; allowed: one (decode them into one wav, or store each as a file)"
            )
        place, last = end, bool(flags & _LAST_PAGE)
        ended = ended or last
    else:
        if last:  # what follows may be a tag
            return
    raise InputError("the sound is cut short: it ends before its last page")
