"""Row h of the benchmark: images over HTTP, out (WADO-RS) and in (STOW-RS, beside C-STORE of the same study).

In: the bench of `against-peers`. Out: its rows h4 and h5. Orthanc is measured with its DICOMweb plugin where that is
installed. Every round stores fresh UIDs; a study is retrieved three times, from the memory that the system keeps of its
file, for both alike. `read and sent` is a bare loop over the same files: nobody who looks at what he sends can be faster to this client.
"""

import http.client
import multiprocessing
import shutil
import socket
import threading
import time

import peers
import samples
import worklists

BOUNDARY = "part-of-the-benchmark"
ROWS = {
    "h4": ("WADO-RS: CT of 500 x 526 KB, 1 connection", "MB/s", True),
    "h5-1": ("STOW-RS of 500 x 526 KB CT, 1 connection", "instances/s", True),
    "h5-4": ("STOW-RS of 500 x 526 KB CT, 4 connections", "instances/s", True),
}


class Images:
    def __init__(self, bench):
        self.bench = bench

    def run(self, rows):
        count = 100 if self.bench.options.quick else 500
        studies = {1: samples.slices(self.bench.memory, "ct", count)}
        if "h5" in rows:
            studies[4] = samples.slices(self.bench.memory / "four", "ct", count, parts=4)
        servers = {}
        if self.bench.neisse:
            servers["neisse"] = worklists.Neisse(self.bench.neisse, self.bench.folder("neisse"), peers.free_port())
        servers["Orthanc"] = worklists.orthanc(self.bench.folder("orthanc"), "libOrthancDicomWeb.so")
        for _ in range(self.bench.rounds):
            for name, server in servers.items():
                if not server:
                    continue
                token = server.token(self.bench.neisse, "onsite") if name == "neisse" else None
                for lines in (1, 4) if "h5" in rows else ():
                    self.bench.try_to(name, self.stow, server, token, studies[lines], lines)
                    self.bench.try_to(f"{name}, C-STORE", self.c_store, server, studies[lines], lines)
                if "h4" in rows:
                    self.bench.try_to(name, self.wado, server, token, studies[1])
            if "h4" in rows:
                self.bench.try_to("read and sent", self.bare, studies[1])
        peers.stop_all()
        for server in filter(None, servers.values()):
            shutil.rmtree(server.folder)

    def c_store(self, name, server, study, lines):
        study.renew()
        sent = peers.Sent(server, study.folders, self.bench.folder("send"), nodelay=True, calling="ONSITE")
        self.bench.record(f"h5-{lines}", name, sent.rate)
        server.empty()

    def stow(self, name, server, token, study, lines):
        study.renew()
        bodies = [multipart(study, folder) for folder in study.folders]
        failed = []

        def send(body):
            try:
                post(server.http_port, token, body)
            except (peers.Failed, OSError) as error:
                failed.append(error)

        senders = [threading.Thread(target=send, args=(body,)) for body in bodies]
        began = time.monotonic()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.monotonic() - began
        if failed:
            raise peers.Failed(str(failed[0]))
        self.bench.record(f"h5-{lines}", name, len(study) / took)
        server.empty()

    def wado(self, name, server, token, study):
        study.renew()
        peers.Sent(server, study.folders, self.bench.folder("send"), nodelay=True, calling="ONSITE")
        uid = uid_of(study)
        # It is indexed a moment after it was accepted.
        web, until = worklists.Web(server.http_port, token), time.monotonic() + 30
        while web.search("/dicom-web/instances", {"StudyInstanceUID": uid, "limit": 1000})[0] < len(study):
            if time.monotonic() > until:
                raise peers.Failed("the study is not found")
            time.sleep(0.1)
        for _ in range(3):
            self.bench.record("h4", name, retrieved(server.http_port, token, uid, study.bytes))
        server.empty()


    def bare(self, name, study):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            paths = [sample.path for sample in study.samples]
            sender = multiprocessing.Process(target=read_and_send, args=(listener, paths), daemon=True)
            sender.start()
            for _ in range(3):
                self.bench.record("h4", name, retrieved(listener.getsockname()[1], None, "1.2", study.bytes))
            sender.terminate()
            sender.join()


def read_and_send(listener, paths):
    """Answers everything with the files, as they are."""
    buffer = bytearray(1 << 20)
    while True:
        line, _ = listener.accept()
        with line:
            line.recv(64 << 10)
            line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for path in paths:
                with path.open("rb", buffering=0) as file:
                    while read := file.readinto(buffer):
                        line.sendall(memoryview(buffer)[:read])


def multipart(study, folder):
    parts = []
    for sample in study.samples:
        if sample.path.parent == folder:
            parts += [f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode(), sample.path.read_bytes()]
    return b"".join([*parts, f"\r\n--{BOUNDARY}--\r\n".encode()])


def post(port, token, body):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
               "Accept": "application/dicom+json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    line.request("POST", "/dicom-web/studies", body, headers)
    response = line.getresponse()
    said = response.read()
    if response.status != 200:
        raise peers.Failed(f"STOW-RS: {response.status} {said[:300]!r}")
    line.close()


def uid_of(study):
    """Study Instance UID, as it stands in the file now."""
    head = study.samples[0].path.read_bytes()[:4096]
    at = head.index(samples.element(0x20, 0xD, "UI", "")[:6])
    length = int.from_bytes(head[at + 6:at + 8], "little")
    return head[at + 8:at + 8 + length].rstrip(b"\0").decode()


def retrieved(port, token, uid, size):
    """MB/s of a whole study; the bytes are counted and not looked at, which no client could do faster."""
    allowed = f"Authorization: Bearer {token}\r\n" if token else ""
    buffer, count = bytearray(1 << 20), 0
    with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
        began = time.perf_counter()
        line.sendall((f"GET /dicom-web/studies/{uid} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{allowed}"
                      'Accept: multipart/related; type="application/dicom"; transfer-syntax=*\r\n\r\n').encode())
        head = bytes(buffer[:line.recv_into(buffer)])
        count = len(head)
        while came := line.recv_into(buffer):
            count += came
        took = time.perf_counter() - began
    if b" 200 " not in head[:20] or count < size:
        raise peers.Failed(f"WADO-RS: {count} of {size} bytes, {head[:200]!r}")
    return size / took / 1e6


def measure(bench, rows):
    if {"h4", "h5"} & rows:
        Images(bench).run(rows)
