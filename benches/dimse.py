"""C-FIND over one open association, as little as a query needs (PS3.8, PS3.7): what is timed is the peer, not this side.

In: port, titles, the SOP Class to ask for, identifiers in Explicit VR Little Endian (`samples.element`). Out: how many
answers came, and after what time. Answers are counted, their data sets are not read; a status that is no success
fails the run. Not a general client.
"""

import socket
import struct
import time

import peers
import samples

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
UPS_PULL = "1.2.840.10008.5.1.4.34.6.3"

_APPLICATION = "1.2.840.10008.3.1.1.1"
_OFFERED, _ACCEPTED, _DATA, _RELEASE = 1, 2, 4, 5
_SUCCESS, _CANCELED, _PENDING = 0x0000, 0xFE00, (0xFF00, 0xFF01)


class Association:
    """One association with one presentation context."""

    def __init__(self, port, called, calling, abstract_syntax):
        self.line = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.sop_class, self.message = bytearray(), abstract_syntax, 0
        self.send(_OFFERED, request(called, calling, abstract_syntax))
        kind, body = self.pdu()
        # Result of the one context (PS3.8 Table 9-18): behind the application context.
        at = 68 + 4 + struct.unpack_from(">H", body, 70)[0] if kind == _ACCEPTED else 0
        if kind != _ACCEPTED or body[at + 6] != 0:
            raise peers.Failed(f"{called} refused the association: PDU {kind}, {bytes(body[:8])!r}")

    def send(self, kind, body):
        self.line.sendall(struct.pack(">BxI", kind, len(body)) + body)

    def pdu(self):
        kind, length = struct.unpack(">BxI", self.take(6))
        return kind, self.take(length)

    def take(self, length):
        while len(self.buffer) < length:
            came = self.line.recv(1 << 18)
            if not came:
                raise peers.Failed("the association was cut")
            self.buffer += came
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    def find(self, identifier, enough=None):
        """(answers, seconds to the last). `enough`: seconds to that many, the rest is canceled."""
        self.message += 1
        began = time.perf_counter()
        self.send(_DATA, fragment(command(self.sop_class, self.message), 3) + fragment(identifier, 2))
        answers, took = 0, None
        while True:
            status = self.status()
            if status not in _PENDING:
                break
            answers += 1
            if answers == enough:
                took = time.perf_counter() - began
                self.send(_DATA, fragment(cancel(self.message), 3))
        if status not in (_SUCCESS, _CANCELED):
            raise peers.Failed(f"C-FIND: status {status:04X}")
        return answers if took is None else enough, time.perf_counter() - began if took is None else took

    def status(self):
        """Of the next response, behind whose data set, if there is one, the stream then stands."""
        response = self.whole()
        fields, at = {}, 0
        while at < len(response):
            group, number, length = struct.unpack_from("<HHI", response, at)
            fields[number] = response[at + 8:at + 8 + length]
            at += 8 + length
        if struct.unpack("<H", fields[0x0800])[0] != 0x0101:
            self.whole()
        return struct.unpack("<H", fields[0x0900])[0]

    def whole(self):
        """The fragments of one command, or of one data set, put together."""
        parts = []
        while True:
            if not self.values():
                continue
            length, _, head = struct.unpack_from(">IBB", self.pending)
            parts.append(self.pending[6:4 + length])
            self.pending = self.pending[4 + length:]
            if head & 2:
                return b"".join(parts)

    pending = b""

    def values(self):
        if not self.pending:
            kind, self.pending = self.pdu()
            if kind != _DATA:
                raise peers.Failed(f"PDU {kind} instead of an answer")
        return self.pending

    def close(self):
        self.send(_RELEASE, bytes(4))
        self.line.close()


def item(kind, body):
    return struct.pack(">BxH", kind, len(body)) + body


def request(called, calling, abstract_syntax):
    """A-ASSOCIATE-RQ (PS3.8 Table 9-11)."""
    context = bytes((1, 0, 0, 0)) + item(0x30, abstract_syntax.encode())
    context += item(0x40, samples.EXPLICIT_VR_LE.encode())
    user = item(0x51, struct.pack(">I", 1 << 17)) + item(0x52, (samples.ROOT + "1").encode())
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    return (struct.pack(">H2x", 1) + titles + bytes(32) + item(0x10, _APPLICATION.encode()) + item(0x20, context)
            + item(0x50, user))


def fragment(data, head):
    """A presentation data value; `head` 3: command, 2: data set, both whole."""
    return struct.pack(">IBB", len(data) + 2, 1, head) + data


def implicit(number, value):
    return struct.pack("<HHI", 0, number, len(value)) + value


def short(number, value):
    return implicit(number, struct.pack("<H", value))


def command(sop_class, message):
    """C-FIND-RQ (PS3.7 Table 9.3-3)."""
    uid = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    fields = implicit(2, uid) + short(0x100, 0x20) + short(0x110, message) + short(0x700, 0) + short(0x800, 1)
    return implicit(0, struct.pack("<I", len(fields))) + fields


def cancel(message):
    """C-CANCEL-FIND-RQ (PS3.7 Table 9.3-5)."""
    fields = short(0x100, 0xFFF) + short(0x120, message) + short(0x800, 0x101)
    return implicit(0, struct.pack("<I", len(fields))) + fields


def sequence(group, number, content):
    """A sequence of one item."""
    return samples.element(group, number, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)


def worklist_keys(patient="", name="", station="", day=""):
    """What a scanner asks: its keys, and what it shows of each step (PS3.4 Table K.6-1)."""
    make = samples.element
    step = (make(8, 0x60, "CS", "") + make(0x40, 1, "AE", station) + make(0x40, 2, "DA", day) + make(0x40, 3, "TM", "")
            + make(0x40, 7, "LO", "") + make(0x40, 9, "SH", ""))
    return (make(8, 0x50, "SH", "") + make(8, 0x90, "PN", "") + make(0x10, 0x10, "PN", name)
            + make(0x10, 0x20, "LO", patient) + make(0x10, 0x30, "DA", "") + make(0x10, 0x40, "CS", "")
            + make(0x20, 0xD, "UI", "") + make(0x32, 0x1032, "PN", "") + make(0x32, 0x1060, "LO", "")
            + sequence(0x40, 0x100, step) + make(0x40, 0x1001, "SH", ""))


def task_keys(patient="", state="SCHEDULED", priority="", label=""):
    """What a workstation asks for its list of reading tasks (PS3.4 Table CC.2.5-3)."""
    make = samples.element
    return (make(8, 0x18, "UI", "") + make(0x10, 0x10, "PN", "") + make(0x10, 0x20, "LO", patient)
            + make(0x20, 0xD, "UI", "") + make(0x40, 0x4005, "DT", "") + make(0x40, 0x4041, "CS", "")
            + make(0x74, 0x1000, "CS", state) + make(0x74, 0x1200, "CS", priority) + make(0x74, 0x1202, "LO", label)
            + make(0x74, 0x1204, "LO", ""))
