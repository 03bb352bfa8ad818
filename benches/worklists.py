"""Row h of the benchmark: worklists, studies and tasks as scanners and workstations ask for them, in a full database.

In: the bench of `against-peers`. Out: its rows h1 to h3.

Neisse has `filled`'s million scheduled steps, and 100,000 studies of a million instances with a reading task each, in one
SQLite file, written there by SQL while it was stopped. Peers have a part of the same, named with each: Orthanc's worklist
plugin a file for each step, its DICOMweb plugin one small instance a study. A query has the same number of answers for
all: 20 steps of a scanner and day, 20 names that begin alike, two a patient. Times are those of the asking side, from
the first byte sent to the last received, on one open association or connection. Each query is another one, but for the lists of the most
urgent tasks; one with another number of answers fails the run.
"""

import http.client
import json
import random
import statistics
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

import dimse
import filled
import peers

QUERIES, SECONDS = 300, 8
ORTHANC_STEPS, ORTHANC_STUDIES = (1_000, 10_000), 20_000
PLUGINS = Path("/usr/share/orthanc/plugins")

_ASKED = {
    "h1d": "MWL C-FIND: scanner and day, 20 answers",
    "h1p": "MWL C-FIND: patient, 2 answers",
    "h1n": "MWL C-FIND: beginning of a name, 20 answers",
    "h2p": "QIDO-RS studies: patient, 2 answers",
    "h2n": "QIDO-RS studies: beginning of a name, all days, 20 answers",
    "h2d": "QIDO-RS studies: two months, limit 50",
    "h2i": "QIDO-RS instances: SOP Instance UID, 1 answer",
    "h3d": "UPS-RS: the 50 most urgent",
    "h3a": "UPS-RS: the 50 most urgent, all that is known of them",
    "h3f": "UPS-RS: patient, 2 answers",
    "h3c": "UPS C-FIND: the 50 most urgent, then C-CANCEL",
    "h3p": "UPS C-FIND: patient, 2 answers",
}
ROWS = {
    **{f"{row} {part}": (f"{what}, {said}", "ms", False) for row, what in _ASKED.items()
       for part, said in (("50", "median"), ("99", "99th percentile"))},
}


class Neisse(peers.Neisse):
    """With a reader that asks, and tokens."""

    def write_config(self, config, database, center_port):
        super().write_config(config, database, center_port)
        center = config / "partners" / "center.toml"
        center.write_text(center.read_text().replace(
            "[dicom]\n", '[dicom]\nsenders = [{ ae_title = "CENTER", address = "127.0.0.1" }]\n'))

    def token(self, binary, partner):
        made = [str(binary), "token", "create", "--config", "config", "--partner", partner, "--name", "BENCH"]
        return subprocess.run(made, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def again(self, binary):
        """Started once more, with what it has."""
        peers.Process.__init__(self, "neisse", [str(binary), "serve", "--config", str(self.folder / "config")], self.folder)
        self.wait_until(lambda: peers.http_status(self.http_port, "/readyz")[0] == 200)


def orthanc(folder, plugin, more=None):
    """With one of its plugins; None where that is not installed."""
    path = PLUGINS / plugin
    if not path.exists():
        print(f"  {plugin} is not installed: Orthanc left out", flush=True)
        return None
    return peers.Orthanc(folder, more={"Plugins": [str(path)], "DicomAlwaysAllowFind": True,
                                       "DicomAlwaysAllowFindWorklist": True, "KeepAlive": True, **(more or {})})


class Web:
    """One connection that is kept."""

    def __init__(self, port, token=None):
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"Accept": "application/dicom+json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.line.connect()

    def search(self, path, keys):
        """(answers, seconds)."""
        target = f"{path}?{urlencode(keys, safe='*-')}"
        began = time.perf_counter()
        self.line.request("GET", target, headers=self.headers)
        response = self.line.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        if response.status not in (200, 204, 206):
            raise peers.Failed(f"{target}: {response.status} {body[:200]!r}")
        return len(json.loads(body)) if body else 0, took


def times(ask, count, expected, quick):
    """Seconds of one query after the other, each with a number of its own."""
    took, until = [], time.monotonic() + SECONDS
    ask(0)
    for number in random.sample(range(count), min(count, 30 if quick else QUERIES)):
        answers, seconds = ask(number)
        if answers != expected:
            raise peers.Failed(f"{answers} answers instead of {expected} to query {number}")
        took.append(seconds)
        if time.monotonic() > until:
            break
    return sorted(took)


class Worklists:
    def __init__(self, bench):
        self.bench = bench
        self.quick = bench.options.quick
        self.full = (20_000, 2_000) if self.quick else (filled.STEPS, filled.STUDIES)

    def asked(self, row, name, ask, count, expected):
        took = times(ask, count, expected, self.quick)
        self.bench.record(f"{row} 50", name, statistics.median(took) * 1000)
        self.bench.record(f"{row} 99", name, took[len(took) * 99 // 100] * 1000)

    def filled(self):
        """A node on the full database, and the tokens of its partners."""
        binary = self.bench.neisse
        node = Neisse(binary, self.bench.folder("neisse-filled"), peers.free_port())
        node.stop()
        file, = node.folder.glob("**/neisse.sqlite")
        seconds, size = filled.fill(file, *self.full)
        print(f"  filled with {self.full[0]:,} steps and {self.full[1]:,} studies in {seconds:.0f} s: {size:.0f} MB", flush=True)
        node.again(binary)
        self.tokens = {partner: node.token(binary, partner) for partner in ("sender", "center")}
        return node

    def search(self, rows):
        """Rows h1 to h3."""
        node = self.filled() if self.bench.neisse else None
        others = []
        if "h1" in rows:
            for count in ORTHANC_STEPS[:1] if self.quick else ORTHANC_STEPS:
                folder = self.bench.folder(f"orthanc-{count}")
                filled.worklist_files(self.bench.memory / f"steps-{count}", count)
                database = {"Worklists": {"Enable": True, "Database": str(self.bench.memory / f"steps-{count}")}}
                others.append(("h1", f"Orthanc, {count:,} steps", orthanc(folder, "libModalityWorklists.so", database), count))
        if "h2" in rows:
            count = 200 if self.quick else ORTHANC_STUDIES
            server = orthanc(self.bench.folder("orthanc-web"), "libOrthancDicomWeb.so", {"SyncStorageArea": False})
            if server:
                self.upload(server, count)
            others.append(("h2", f"Orthanc, {count:,} studies", server, count))
        for _ in range(self.bench.rounds):
            for row, measure, full in (("h1", self.steps, self.full[0]), ("h2", self.studies, self.full[1])):
                if row not in rows:
                    continue
                for name, server, count in [("neisse", node, full)] + [other[1:] for other in others if other[0] == row]:
                    if server:
                        self.bench.try_to(name, measure, server, count)
            if "h3" in rows and node:
                self.bench.try_to("neisse", self.tasks, node, self.full[1])
        peers.stop_all()

    def steps(self, name, server, count):
        line = dimse.Association(server.dicom_port, server.ae_title, "SENDER", dimse.MODALITY_WORKLIST)
        stations = filled.stations_of(count)

        def of_day(number):
            return line.find(dimse.worklist_keys(
                station=f"CT{number % stations}", day=filled.day(number // stations)))

        self.asked("h1d", name, of_day, stations * filled.days_of(count), filled.ALIKE)
        self.asked("h1p", name, lambda number: line.find(dimse.worklist_keys(patient=f"P{number}")), count // 2, 2)
        self.asked("h1n", name, lambda number: line.find(dimse.worklist_keys(name=f"Muster{number:06d}*")),
                   count // filled.ALIKE, filled.ALIKE)
        line.close()

    def studies(self, name, server, count):
        web = Web(server.http_port, self.tokens["sender"] if name == "neisse" else None)
        days = count // filled.STUDIES_A_DAY
        all_days = f"{filled.day(0)}-{filled.day(days)}"

        def of_months(number):
            start = number % max(1, days - 60)
            return web.search("/dicom-web/studies", {"StudyDate": f"{filled.day(start)}-{filled.day(start + 60)}", "limit": 50})

        self.asked("h2p", name, lambda number: web.search("/dicom-web/studies", {"PatientID": f"Q{number}"}), count // 2, 2)
        self.asked("h2n", name, lambda number: web.search("/dicom-web/studies", {
            "PatientName": f"Probe{number:06d}*", "StudyDate": all_days}), count // filled.ALIKE, filled.ALIKE)
        self.asked("h2d", name, of_months, count, 50)
        self.asked("h2i", name, lambda number: web.search("/dicom-web/instances", {
            "SOPInstanceUID": filled.study_uid(number) + "11"}), count, 1)

    def tasks(self, name, node, count):
        web = Web(node.http_port, self.tokens["center"])
        urgent = {"ProcedureStepState": "SCHEDULED", "limit": 50}
        # Only these keys; without includefield, everything known of a task would be told, instance by instance.
        shown = {"includefield": "PatientName,PatientID,StudyInstanceUID,WorklistLabel,ProcedureStepLabel"}
        self.asked("h3d", name, lambda _: web.search("/workitems", {**urgent, **shown}), count, 50)
        self.asked("h3a", name, lambda _: web.search("/workitems", urgent), count, 50)
        self.asked("h3f", name, lambda number: web.search("/workitems", {"PatientID": f"Q{number}", **shown}),
                   count // 2, 2)
        line = dimse.Association(node.dicom_port, node.ae_title, "CENTER", dimse.UPS_PULL)
        self.asked("h3c", name, lambda number: line.find(dimse.task_keys(), enough=50), count, 50)
        self.asked("h3p", name, lambda number: line.find(dimse.task_keys(patient=f"Q{number}")), count // 2, 2)
        line.close()

    def upload(self, server, count):
        began, line = time.monotonic(), http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
        for i in range(count):
            line.request("POST", "/instances", filled.study_file(i))
            response = line.getresponse()
            response.read()
            if response.status != 200:
                raise peers.Failed(f"Orthanc took {i} of {count} studies")
        print(f"  Orthanc took {count} studies in {time.monotonic() - began:.0f} s", flush=True)


def measure(bench, rows):
    if {"h1", "h2", "h3"} & rows:
        Worklists(bench).search(rows)
