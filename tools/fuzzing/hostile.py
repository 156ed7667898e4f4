"""Files as an enemy, or a broken disk, would make them, each read as the library reads its kind."""

import gzip
import io
import json
import random
import struct
import sys
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmgen_jax.data import DataOptions
from mmgen_jax.modalities.embeddings import EMBEDDINGS
from tools.fuzzing import recipe, trained
from tools.fuzzing.cases import Case, Fault, Kind

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned.txt) (w) file closefile\nshowpage\n"
)
NAMES = ("file_name", "text", "label", "audio_file_name", "image_file_name")
JUNK = (
    *(None, True, 1, -1, 1.5, 10**400, [], {}, [[]], [None], {"en": None}, {"": ""}, "", " ", "\0"),
    *("..", "/etc/passwd", "/dev/zero", "pipe", "../x.png", "0.png\0", "é", "e\u0301", "x" * 5_000),
    *(
        "\ud800",
        ["a", 1],
        {"en": ["a"]},
        "0.png",
        "CON",
        "\u202e",
        [""] * 5_000,
        5,
        "5",
        float("nan"),
    ),
)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int = 8, color: int = 2, extra: bytes = b"") -> bytes:
    """A PNG that claims this size, whatever it holds."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(2_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A picture of noise in a format of Pillow's."""
    file = io.BytesIO()
    noise = Image.effect_noise((24, 16), 90).convert(mode)
    noise.save(file, kind, **options)
    return file.getvalue()


def spoiled(draw: random.Random, content: bytes) -> bytes:
    """Cuts a file, or flips some of its bits."""
    if draw.random() < 0.4:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def picture(draw: random.Random) -> tuple[str, bytes]:
    """(what it is, a picture that is hardly one)."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(50_000_000)))
    made: dict[str, Callable[[], bytes]] = {
        "PostScript": lambda: POSTSCRIPT,
        "PostScript in DOS's wrapping": lambda: (
            b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 99) + POSTSCRIPT
        ),
        "bomb": lambda: png(60_000, 60_000),
        "bomb below Pillow's limit": lambda: png(9_400, 9_400),
        "no pixels": lambda: png(0, 0),
        "one line": lambda: png(1, 2**31 - 1),
        "text that unpacks": lambda: png(8, 8, extra=text),
        "profile that unpacks": lambda: png(8, 8, extra=profile),
        "profile of noise": lambda: saved("PNG", icc_profile=draw.randbytes(3_000)),
        "torn profile": lambda: saved("JPEG", icc_profile=b"\0\0\x0c\x48lcms" + bytes(200)),
        "palette without colors": lambda: png(8, 8, color=3),
        "CMYK": lambda: saved("JPEG", "CMYK"),
        "32 bits": lambda: saved("TIFF", "F"),
        "two in one": lambda: saved("PNG") + b"PK\x03\x04" + draw.randbytes(200),
        "empty": lambda: b"",
        "svg": lambda: (
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
        ),
        "FITS": lambda: b"SIMPLE  =                    T" + b" " * 3_000,
        "web page": lambda: b"<html>not found</html>",
        "PSD": lambda: b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
        "icon": lambda: b"\0\0\x01\0\xff\xff" + draw.randbytes(600),
        "PCX": lambda: (
            b"\x0a\x05\x01\x08" + struct.pack("<HHHH", 0, 0, 65_535, 65_535) + bytes(120)
        ),
        "XBM": lambda: (
            b"#define im_width 99999\n#define im_height 99999\nstatic char im_bits[] = {\n0};"
        ),
        "WMF": lambda: b"\xd7\xcd\xc6\x9a" + draw.randbytes(400),
        "GIF of many pictures": lambda: saved(
            "GIF", save_all=True, append_images=[Image.new("RGB", (24, 16), i) for i in range(99)]
        ),
    }
    if draw.random() < 0.4:
        kind = draw.choice(("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "JPEG2000"))
        return f"spoiled {kind}", spoiled(draw, saved(kind))
    name = draw.choice(sorted(made))
    return name, made[name]()


def sound(draw: random.Random) -> tuple[str, bytes]:
    """(what it is, a sound that is hardly one)."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(draw.randbytes(16_000))
    good = file.getvalue()

    def head(channels: int, rate: int, bits: int, size: int, kind: int = 1) -> bytes:
        fields = (
            kind,
            channels,
            rate,
            rate * channels * bits // 8 % 2**32,
            channels * bits // 8,
            bits,
        )
        body = b"fmt " + struct.pack("<IHHIIHH", 16, *fields) + b"data" + struct.pack("<I", size)
        return b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVE" + body + bytes(2_000)

    made: dict[str, Callable[[], bytes]] = {
        "spoiled": lambda: spoiled(draw, good),
        "claims 4 GB": lambda: head(1, 16_000, 16, 2**32 - 1),
        "many channels": lambda: head(1_024, 16_000, 8, 2_000),
        "one sample a second": lambda: head(1, 1, 16, 2_000),
        "a billion a second": lambda: head(1, 2**31 - 1, 16, 2_000),
        "odd rate": lambda: head(1, 383_999, 16, 2_000),
        "no bits": lambda: head(1, 16_000, 0, 2_000),
        "float of noise": lambda: head(1, 16_000, 32, 2_000, 3)[:44] + draw.randbytes(2_000),
        "empty": lambda: b"",
        "text": lambda: b"no sound at all",
        "ogg": lambda: b"OggS" + draw.randbytes(500),
        "flac": lambda: b"fLaC" + draw.randbytes(500),
        "mp3": lambda: b"ID3\x04\0\0" + draw.randbytes(500),
        "picture": lambda: saved("PNG"),
    }
    name = draw.choice(sorted(made))
    return name, made[name]()


def opened(options: dict[str, Any], names: tuple[str, ...] = ("text", "label")) -> None:
    """Opens a data set and reads all of its records."""
    config = recipe.get_config()
    config.data.update(options)
    split = "all" if config.data.name == "folder" else config.data.split
    source = DataOptions.of(config).open(split)
    for index in range(min(len(source), 40)):
        record = source[index]
        np.asarray(record.image() if callable(record.image) else record.image)
        for name in record.values:
            record.values[name]


def of_folder(draw: random.Random) -> Case:
    """A folder with hostile pictures, sounds, metadata or labels."""
    place = Path("data")
    trained.folder(place)
    part = draw.choice(("picture", "picture", "picture", "sound", "metadata", "metadata", "labels"))
    lines = (place / "metadata.jsonl").read_bytes().splitlines()
    if part == "picture":
        what, content = picture(draw)
        (place / "3.png").write_bytes(content)
    elif part == "sound":
        what, content = sound(draw)
        (place / "3.wav").write_bytes(content)
        line = json.loads(lines[3])
        lines[3] = json.dumps(line | {"audio_file_name": "3.wav"}).encode()
    elif part == "metadata":
        what, lines[3] = _line(draw, json.loads(lines[3]))
    else:
        odd = (
            b"",
            b"\xff\xfe",
            b"cat\ncat\n",
            b"\n\n",
            b"cat\0\n",
            b"cat\n" * 100_000,
            b"c" * 10**6,
        )
        content = draw.choice(odd)
        what = repr(content[:20])
        (place / "labels.txt").write_bytes(content)
    (place / "metadata.jsonl").write_bytes(b"\n".join(lines))
    options = {"name": "folder", "path": "data"}
    return Case(
        f"a folder with a hostile {part}: {what}", lambda: opened(options), ("data", ".cache")
    )


def _line(draw: random.Random, line: dict[str, Any]) -> tuple[str, bytes]:
    """(what it is, a line of metadata.jsonl)."""
    whole = json.dumps(line).encode()
    deep = b'{"file_name": "3.png", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    raw = (b"null", b"[]", b"1", b"{", b"\xff" + whole, b"\xef\xbb\xbf" + whole, whole + b"}", deep)
    if draw.random() < 0.3:
        made = draw.choice((*raw, whole[:-1] + b', "label": "dog"}', whole.replace(b"{", b"{,")))
        return repr(made[:40]), made
    key, value = draw.choice(NAMES), draw.choice(JUNK)
    return f"{key} is {str(value)[:40]!a}", json.dumps(line | {key: value}).encode()


def of_model(draw: random.Random) -> Case:
    """A text encoder's files: word vectors, or a T5's config, weights and tokenizer."""
    if draw.random() < 0.5:
        name, content = _vectors(draw)
        Path(name).write_bytes(content)
        encoder, path = draw.choice(("word2vec", "glove")), name
        what = f"{name}: {content[:30]!r}"
    else:
        encoder, path = "frozen_transformer", "t5"
        what = _transformer(draw, Path("t5"))

    def run() -> None:
        options = recipe.get_config().modalities.text
        options.encoder, options.encoder_path = encoder, path
        spec = EMBEDDINGS[encoder]
        assets = spec.fit(options, ["a red apple", "é"])
        built = spec.build(options, "float32", assets)
        built.tokenize("a red apple")
        built.pretrained()

    return Case(f"{encoder} of {what}", run)


def _vectors(draw: random.Random) -> tuple[str, bytes]:
    good = b"3 2\na 1 2\nb 3 4\nc 5 6\n"
    made = (
        *(("v.txt", x) for x in (b"", b"3 2\n", b"-3 2\na 1 2\n", b"99999999999 9999999\na 1 2\n")),
        *(("v.txt", x) for x in (b"3 2\na nan 2\nb 1 1\nc 1 1\n", b"3 2\na 1\nb 1 1\n", good[:-5])),
        *(
            ("v.txt", x)
            for x in (b"3 0\na\nb\nc\n", b"3 2\na 1 2\na 1 2\na 1 2\n", b"\xff\xfe" + good)
        ),
        *(
            ("v.bin", x)
            for x in (b"", good, b"1000000000 1000000\n", b"3 2\n" + draw.randbytes(20))
        ),
        ("v.txt.gz", gzip.compress(bytes(3 * 10**8))),
        ("v.bin.gz", gzip.compress(b"300000000 300\n" + bytes(3 * 10**8))),
        ("v.txt.gz", gzip.compress(good)[:-9]),
        ("v.txt.gz", b"\x1f\x8b" + draw.randbytes(99)),
    )
    return draw.choice(made)


def _transformer(draw: random.Random, place: Path) -> str:
    """Writes a T5's folder with something wrong in it; says what."""
    import safetensors.numpy
    from tokenizers import Tokenizer, models

    place.mkdir()
    sizes: dict[str, Any] = {
        "model_type": "t5",
        "vocab_size": 11,
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 8,
    }
    sizes |= {"num_layers": 1, "num_heads": 2, "relative_attention_num_buckets": 8}
    sizes |= {"relative_attention_max_distance": 20, "layer_norm_epsilon": 0.01}
    sizes["feed_forward_proj"] = "relu"
    part = draw.choice(("config", "config", "weights", "tokenizer"))
    key = draw.choice(sorted(sizes))
    odd = (0, -1, 10**8, 10**15, 1e308, None, "x", [], True, 2**70, float("nan"), {})
    weights = safetensors.numpy.save({"shared.weight": np.zeros((11, 8), np.float32)})
    tokenizer = (
        Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str().encode()
    )
    head = lambda text: struct.pack("<Q", len(text)) + text  # noqa: E731
    what = ""
    if part == "config":
        sizes[key] = draw.choice(odd)
        what = f"{key} = {sizes[key]!r}"
    elif part == "weights":
        claims = b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
        huge = b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
        deep = b'{"a":' + b"[" * 100_000
        whole = (head(claims) + bytes(4), head(huge) + bytes(4), head(deep), head(b"null"), b"")
        weights = draw.choice((*whole, struct.pack("<Q", 2**63), spoiled(draw, weights)))
        what = f"weights {weights[:40]!r}"
    else:
        many = (b"", b"{}", b"[" * 100_000, b"null", b'{"model":1}', b"\xff")
        tokenizer = draw.choice((*many, spoiled(draw, tokenizer)))
        what = f"tokenizer {tokenizer[:40]!r}"
    (place / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    (place / "model.safetensors").write_bytes(weights)
    (place / "tokenizer.json").write_bytes(tokenizer)
    return what


def of_tfds(draw: random.Random, shared: Path) -> Case:
    """A data set of TFDS's whose metadata or records were changed."""
    import shutil

    place = Path("set")
    shutil.copytree(shared / "made", place)
    name = draw.choice(("features.json", "features.json", "dataset_info.json", "records"))
    path = next(place.glob("*.array_record*")) if name == "records" else place / name
    if name == "features.json" and draw.random() < 0.6:
        odd = (
            "this.X",
            "antigravity.X",
            "os.path",
            "tensorflow_datasets.core.features.Text.__class__",
        )
        odd += (
            "mmgen_jax.training.loop.Loop",
            "",
            "x",
            "builtins.print",
            "tensorflow_datasets.core.x",
        )
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        nested = content["featuresDict"]["features"]
        at = draw.choice((content, *nested.values()))
        at["pythonClassName"] = what = draw.choice(odd)
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_bytes(spoiled(draw, path.read_bytes()))
        what = "spoiled"

    def run() -> None:
        before = set(sys.modules)
        try:
            opened({"name": "tfds", "path": "set", "target": "image", "split": "train"})
        finally:
            if {"antigravity", "this"} & (sys.modules.keys() - before):
                raise Fault("a data set's metadata imported a module", what)

    return Case(f"a TFDS data set, {name}: {what}", run, ("set",))


def prepare(shared: Path) -> None:
    """A data set in TFDS's format."""
    from mmgen_jax.data.builders import BUILDERS

    if not (shared / trained.PICTURES).exists():
        trained.folder(shared / trained.PICTURES)
    BUILDERS["folder"](str(shared / "made"), raw=str(shared / trained.PICTURES), image_size=16)


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A hostile file, and the reading of it."""
    kind = draw.choices(("folder", "model", "tfds"), (6, 3, 2))[0]
    if kind == "folder":
        return of_folder(draw)
    return of_model(draw) if kind == "model" else of_tfds(draw, shared)


HOSTILE = Kind(
    name="hostile",
    modules=(
        *(
            "mmgen_jax.data.folder.source",
            "mmgen_jax.data.tfds.source",
            "mmgen_jax.pretrained.t5_weights",
        ),
        *(
            "mmgen_jax.modalities.embeddings.pretrained",
            "mmgen_jax.modalities.embeddings.word_vectors",
        ),
        "gensim.models",
    ),
    prepare=prepare,
    make=make,
    seconds=30,
)
