"""Color profiles and PNG files for tests, made in a line or two."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

# Colorants of a profile, adapted to D50: the red, green and blue primaries as XYZ.
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rgb(primaries, gamma=None) -> bytes:
    """The profile of an RGB space with these primaries, and sRGB's tone curve or a gamma."""
    profile = bytearray(srgb())
    for tag, (offset, _) in tags(profile).items():
        if tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
            values = primaries[b"rgb".index(tag[:1])]
            fixed = [round(value * 65536) for value in values]
            profile[offset + 8 : offset + 20] = struct.pack(">3i", *fixed)
        if tag in (b"rTRC", b"gTRC", b"bTRC") and gamma:
            profile[offset : offset + 12] = curve(gamma)
    return bytes(profile)


def gray(gamma) -> bytes:
    """The profile of a gray space with a gamma."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return packed(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": curve(gamma) + bytes(4)})


def cmyk() -> bytes:
    """The profile of a press whose inks reflect nothing, so that they multiply."""
    sides = np.meshgrid(*[(0.0, 1.0)] * 4, indexing="ij")
    light = (1 - np.stack(sides[:3], axis=-1)) * (1 - sides[3])[..., None]
    lab = _lab(light.reshape(-1, 3))
    low, high = struct.pack(">2H", 0, 65535), struct.pack(">2H", 0, 65535)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536) + struct.pack(">2H", 2, 2)
    table += low * 4
    encoded = lab * [65280 / 100, 256, 256] + [0, 32768, 32768]
    table += np.round(encoded).astype(">u2").tobytes() + high * 3
    return packed(b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


def curve(gamma) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def tags(profile) -> dict[bytes, tuple[int, int]]:
    """Tag -> (where it begins, its bytes)."""
    count = struct.unpack(">I", profile[128:132])[0]
    rows = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
    return {name: (offset, size) for name, offset, size in rows}


def packed(space, connection, content) -> bytes:
    """A profile of version 2 for a printer or a display."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = bytearray(128)
    head[8:12], head[12:24] = b"\x02\x40\0\0", kind + space + connection
    head[36:40], head[68:80] = b"acsp", struct.pack(">3i", 63190, 65536, 54061)
    table, body = struct.pack(">I", len(content)), b""
    start = 132 + 12 * len(content)
    for tag, data in content.items():
        table += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head[0:4] = struct.pack(">I", start + len(body))
    return bytes(head) + table + body


def png(depth, kind, values, key=None, profile=None) -> io.BytesIO:
    """A PNG of one row, with a transparent color and a profile if they are given.

    Args:
      depth: bits of a channel.
      kind: PNG's color type: 0 gray, 2 RGB, 4 gray and alpha, 6 RGBA.
      values: of all channels, one after the other.
      key: values of the transparent color.
      profile: an ICC profile.
    """
    bits = "".join(format(value, f"0{depth}b") for value in values)
    row = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    width = len(values) // {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))]
    if profile is not None:
        chunks.append((b"iCCP", b"profile\0\0" + zlib.compress(profile)))
    if key is not None:
        chunks.append((b"tRNS", struct.pack(f">{len(key)}H", *key)))
    chunks += [(b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


def saved(image: Image.Image, kind: str, profile: bytes | None = None, **options) -> io.BytesIO:
    """A picture file in memory."""
    file = io.BytesIO()
    image.save(file, kind, **({"icc_profile": profile} if profile else {}), **options)
    file.seek(0)
    return file


def _lab(light):
    """Linear sRGB [n, 3] as CIE L*a*b* under D50."""
    to_xyz = np.array(
        [(0.4361, 0.3851, 0.1431), (0.2225, 0.7169, 0.0606), (0.0139, 0.0971, 0.7141)]
    )
    share = light @ to_xyz.T / (0.9642, 1, 0.8249)
    f = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
