"""Small CZI, LIF and ND2 files, written from the layout that the three readers document."""

import struct
import zlib
from xml.sax.saxutils import quoteattr

import numpy as np

CZI_TYPES = {("u1", 1): 0, ("u2", 1): 1, ("f4", 1): 2, ("u1", 3): 3, ("u2", 3): 4, ("u1", 4): 9}


def czi(tiles, *, channels=(), pixel_um=None, bits=None, encode=(0, lambda pixels: pixels.tobytes()), pyramid=0):
    """A CZI file. tiles: (position such as {"C": 1, "M": 0, "Y": 0, "X": 8}, (h, w[, 3, blue first]) pixels) pairs."""
    kind, compress = encode
    names = "".join(f"<Channel Name={quoteattr(name)}/>" for name in channels)
    scale = f"<Distance Id='X'><Value>{pixel_um * 1e-6}</Value></Distance>" if pixel_um else ""
    depth = f"<ComponentBitCount>{bits}</ComponentBitCount>" if bits else ""
    xml = (f"<ImageDocument><Metadata><Information><Image>{depth}<Dimensions><Channels>{names}</Channels></Dimensions>"
           f"</Image></Information><Scaling><Items>{scale}</Items></Scaling></Metadata></ImageDocument>").encode()

    def segment(name, data):
        return struct.pack("<16sqq", name, len(data), len(data)) + data

    body, entries = b"", []
    at = 32 + 512
    for position, pixels in tiles:
        samples = pixels.shape[2] if pixels.ndim == 3 else 1
        axes = [("X", position.get("X", 0), pixels.shape[1]), ("Y", position.get("Y", 0), pixels.shape[0]),
                *((axis, k, 1) for axis, k in position.items() if axis not in "XY")]
        entry = struct.pack("<2siqiiBB4si", b"DV", CZI_TYPES[pixels.dtype.str[1:], samples], at + len(body), 0, kind,
                            pyramid, 0, b"", len(axes))
        entry += b"".join(struct.pack("<4siifi", axis.encode(), k, n, 0.0, n) for axis, k, n in axes)
        data = compress(np.ascontiguousarray(pixels))
        body += segment(b"ZISRAWSUBBLOCK", struct.pack("<iiq", 0, 0, len(data)) + entry
                        + bytes(max(0, 240 - len(entry))) + data)
        entries.append(entry)
    metadata, directory = at + len(body), at + len(body) + 32 + 256 + len(xml)
    head = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, bytes(16), bytes(16), 0, directory, metadata, 0, 0)
    return (segment(b"ZISRAWFILE", head + bytes(512 - len(head))) + body
            + segment(b"ZISRAWMETADATA", struct.pack("<ii", len(xml), 0) + bytes(248) + xml)
            + segment(b"ZISRAWDIRECTORY", struct.pack("<i", len(entries)) + bytes(124) + b"".join(entries)))


def lif(pictures, *, tables=("Blue", "Green"), metres=None, doctype=""):
    """A LIF file. pictures: (T, Z, C, Y, X) arrays, or (Y, X, 3) uint8 of red, green, blue."""
    elements, blocks = "", b""
    for number, pixels in enumerate(pictures):
        size, bits = pixels.dtype.itemsize, 8 * pixels.dtype.itemsize
        colour = pixels.ndim == 3
        t, z, c, y, x = (1, 1, 3, *pixels.shape[:2]) if colour else pixels.shape
        step = {"X": size * (3 if colour else 1)}
        step["Y"] = step["X"] * x
        step["Z"] = step["Y"] * y * (1 if colour else c)
        step["T"] = step["Z"] * z
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="{k + 1 if colour else 0}" Resolution="{bits}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="{"" if colour else tables[k]}" '
            f'IsLUTInverted="0" BytesInc="{k * (size if colour else step["Y"] * y)}" BitInc="0"/>' for k in range(c))
        dimensions = "".join(
            f'<DimensionDescription DimID="{axis}" NumberOfElements="{n}" Origin="0" Length="{metres or 0}" Unit="m" '
            f'BytesInc="{step[letter]}" BitInc="0"/>'
            for axis, letter, n in ((1, "X", x), (2, "Y", y), (3, "Z", z), (4, "T", t)) if n > 1)
        elements += (f'<Element Name="picture {number}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
                     f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
                     f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>')
        name = f"MemBlock_{number}".encode("utf-16-le")
        blocks += struct.pack("<IIBQBI", 0x70, 14 + len(name), 0x2A, pixels.nbytes, 0x2A, len(name) // 2) + name
        blocks += pixels.tobytes()
    xml = (f'{doctype}<LMSDataContainerHeader Version="2"><Element Name="file"><Data/><Children>{elements}</Children>'
           "</Element></LMSDataContainerHeader>").encode("utf-16-le")
    return struct.pack("<IIBI", 0x70, 5 + len(xml), 0x2A, len(xml) // 2) + xml + blocks


def _clx(name, value):
    """One entry of Nikon's binary tree."""
    word = (name + "\0").encode("utf-16-le")
    if isinstance(value, dict):
        items = b"".join(_clx(key.strip(" "), item) for key, item in value.items())
        length = 2 + len(word) + 12 + len(items)
        head = bytes([11, len(word) // 2]) + word + struct.pack("<IQ", len(value), length)
        return head + items + bytes(8 * len(value))
    kind, data = {
        bool: lambda: (1, bytes([value])),
        int: lambda: (3, struct.pack("<I", value)),
        float: lambda: (6, struct.pack("<d", value)),
        str: lambda: (8, (value + "\0").encode("utf-16-le")),
    }[type(value)]()
    return bytes([kind, len(word) // 2]) + word + data


def packed(tree):
    """The same entry, as Nikon packs long ones."""
    return bytes([76, 0]) + bytes(10) + zlib.compress(tree)


def nd2(frames, *, times=1, depth=1, names=("DAPI",), pixel_um=None, bits=16, lossless=False, wrap=bytes, drop=()):
    """An ND2 file. frames: times × depth arrays (Y, X, components), as many for each name. `drop` leaves some out."""
    y, x, components = frames[0].shape
    each = components // len(names)
    size = frames[0].dtype.itemsize
    planes = {f"a{k}": {"sDescription": name, "uiCompCount": each, "pFluorescentProbe": {"m_sName": name}}
              for k, name in enumerate(names)}
    attributes = {"uiWidth": x, "uiWidthBytes": x * components * size, "uiHeight": y, "uiComp": components,
                  "uiBpcInMemory": 8 * size, "uiBpcSignificant": bits, "uiSequenceCount": len(frames),
                  "eCompression": 0 if lossless else 2, "dCompressionParam": 0.0}
    picture = {"sPicturePlanes": {"uiCount": len(names), "sPlaneNew": planes}, "bCalibrated": pixel_um is not None,
               "dCalibration": pixel_um or 1.0}
    stack = {"eType": 4, "uLoopPars": {"uiCount": depth, "dZStep": 1.0}}
    series = {"eType": 1, "uLoopPars": {"uiCount": times, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}}
    loop = series | {"ppNextLevelEx": {"": stack}} if times > 1 and depth > 1 else series if times > 1 else stack
    trees = {"ImageAttributesLV!": ("SLxImageAttributes", attributes), "ImageMetadataLV!": ("SLxExperiment", loop),
             "ImageMetadataSeqLV|0!": ("SLxPictureMetadata", picture)}
    magic, out, places = 0x0ABECEDA, b"", []
    start = struct.pack("<IIQ", magic, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!" + b"Ver3.0".ljust(64, b"\0")
    for name, (root, tree) in trees.items():
        data = wrap(_clx(root, tree))
        places.append((name, len(start) + len(out), len(data)))
        out += struct.pack("<IIQ", magic, len(name), len(data)) + name.encode() + data
    for k, frame in enumerate(frames):
        if k in drop:
            continue
        data = bytes(8) + (zlib.compress(frame.tobytes()) if lossless else frame.tobytes())
        places.append((f"ImageDataSeq|{k}!", len(start) + len(out), len(data)))
        out += struct.pack("<IIQ", magic, 4072, len(data)) + places[-1][0].encode().ljust(4072, b"\0") + data
    table = b"".join(name.encode() + struct.pack("<QQ", at, size) for name, at, size in places)
    signature = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    return (start + out + struct.pack("<IIQ", magic, 32, len(table) + 40) + b"ND2 FILEMAP SIGNATURE NAME 0001!" + table
            + signature + struct.pack("<Q", len(start) + len(out)))
