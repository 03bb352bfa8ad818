"""Synthetic studies for the benchmark: DICOM files (PS3.10) written byte by byte, with no patient behind them.

In: a kind of study, a folder. Out: `Sample` objects, which can be given fresh UIDs in place before each run: a
receiver must never be measured on instances it has already. Not a general writer: Explicit VR Little Endian, one
series a study, noise for pixels.
"""

import os
import struct
import time
from pathlib import Path

EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
MULTIFRAME_BYTE = "1.2.840.10008.5.1.4.1.1.7.2"

# The variable part of every UID, of fixed length, so that it can be overwritten in place: "1" and 19 more digits.
STAMP_DIGITS = 20
# Root of UIDs derived from a UUID (PS3.5 B.2); the stamp keeps below 2^128.
ROOT = "2.25."

LONG_FORM = {"OB", "OW", "SQ", "UN", "UT"}


def element(group, number, vr, value):
    """One element, Explicit VR Little Endian (PS3.5 7.1.2), padded to even length."""
    if isinstance(value, str):
        value = value.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", group, number, vr.encode())
    if vr in LONG_FORM:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def us(group, number, value):
    return element(group, number, "US", struct.pack("<H", value))


class Sample:
    """One file, and where in it the stamp stands."""

    def __init__(self, path, places):
        self.path, self.places = path, places

    def stamp(self, text):
        with open(self.path, "r+b") as file:
            for place in self.places:
                file.seek(place)
                file.write(text)


class Study:
    """Files of one study in one folder (or several, one a sender)."""

    def __init__(self, folders, samples):
        self.folders, self.samples = folders, samples
        self.bytes = sum(os.path.getsize(sample.path) for sample in samples)

    def __len__(self):
        return len(self.samples)

    def renew(self):
        """Fresh study, series and instance UIDs. Time makes them unique, also between runs of the benchmark."""
        stamp = b"1%019d" % time.time_ns()
        for sample in self.samples:
            sample.stamp(stamp)


def header(sop_class, modality, instance, side, frames, bits):
    """File meta information and everything before Pixel Data, its stamp still all ones."""
    stamp = "1" * STAMP_DIGITS
    study, series = ROOT + stamp + "0", ROOT + stamp + "1"
    sop_instance = f"{ROOT}{stamp}{instance + 2:05d}"
    meta = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", sop_class) + element(2, 3, "UI", sop_instance)
    meta += element(2, 0x10, "UI", EXPLICIT_VR_LE) + element(2, 0x12, "UI", ROOT + "1")
    meta = element(2, 0, "UL", struct.pack("<I", len(meta))) + meta
    data = element(8, 5, "CS", "ISO_IR 100") + element(8, 0x16, "UI", sop_class) + element(8, 0x18, "UI", sop_instance)
    data += element(8, 0x20, "DA", "20260105") + element(8, 0x30, "TM", "031000") + element(8, 0x50, "SH", "A0000001")
    data += element(8, 0x60, "CS", modality) + element(8, 0x1030, "LO", "Benchmark")
    data += element(0x10, 0x10, "PN", "Synthetic^Sample") + element(0x10, 0x20, "LO", "BENCH1")
    data += element(0x10, 0x30, "DA", "19700101") + element(0x10, 0x40, "CS", "O")
    data += element(0x20, 0xD, "UI", study) + element(0x20, 0xE, "UI", series)
    data += element(0x20, 0x13, "IS", str(instance + 1))
    data += us(0x28, 2, 1) + element(0x28, 4, "CS", "MONOCHROME2")
    if frames > 1:
        data += element(0x28, 8, "IS", str(frames))
    data += us(0x28, 0x10, side) + us(0x28, 0x11, side) + us(0x28, 0x100, bits) + us(0x28, 0x101, bits)
    data += us(0x28, 0x102, bits - 1) + us(0x28, 0x103, 0)
    return bytes(128) + b"DICM" + meta + data


def places_of(head):
    """Where the stamp stands in a header."""
    places, mark, at = [], b"1" * STAMP_DIGITS, 0
    prefix = ROOT.encode()
    while (at := head.find(prefix + mark, at)) >= 0:
        places.append(at + len(prefix))
        at += len(prefix) + STAMP_DIGITS
    return places


def pixel_head(bits, length):
    """Pixel Data's tag, VR and length."""
    return struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW" if bits > 8 else b"OB", 0, length)


def slices(folder, kind, count, parts=1):
    """`count` slices: "ct" of 512 x 512 x 16 bit (526 KB), "mr" of 128 x 128 x 16 bit plus padding (36 KB)."""
    sop_class, modality, side = {"ct": (CT, "CT", 512), "mr": (MR, "MR", 134)}[kind]
    noise = os.urandom(side * side * 2 + count)
    folders, samples = [], []
    for part in range(parts):
        place = Path(folder) / f"{kind}{count}-{parts}-{part}"
        place.mkdir(parents=True)
        folders.append(place)
    for instance in range(count):
        head = header(sop_class, modality, instance, side, 1, 16)
        pixels = noise[instance:instance + side * side * 2]
        path = folders[instance * parts // count] / f"{instance:05d}.dcm"
        path.write_bytes(head + pixel_head(16, len(pixels)) + pixels)
        samples.append(Sample(path, places_of(head)))
    return Study(folders, samples)


def multiframe(folder, size):
    """One 8 bit multi-frame instance of about `size` bytes (1 MiB a frame)."""
    frames = max(1, size >> 20)
    place = Path(folder) / "multiframe"
    place.mkdir(parents=True)
    head = header(MULTIFRAME_BYTE, "OT", 0, 1024, frames, 8)
    path, frame = place / "00000.dcm", os.urandom(1 << 20)
    with open(path, "wb") as file:
        file.write(head + pixel_head(8, frames << 20))
        for _ in range(frames):
            file.write(frame)
    return Study([place], [Sample(path, places_of(head))])
