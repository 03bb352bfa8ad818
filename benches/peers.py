"""Peers of the benchmark: starts each on free ports in a folder of its own, knows when it listens, ends it.

In: a folder on the disk to measure. Out: objects with `dicom_port`, `ae_title`, `pid` and `stop()`. Peers run as they
come, but for TCP_NODELAY=1, which an operator can set too and which makes DCMTK's and Orthanc's own sending and
answering about twenty times faster. DCMTK and Orthanc cannot bind their DICOM port to one address: run this where
the machine's ports are not open to others.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

# One line a log event, with the microsecond at which DCMTK wrote it: the same clock for sender and center.
LOG_CONFIG = """\
log4cplus.rootLogger = INFO, out
log4cplus.appender.out = log4cplus::ConsoleAppender
log4cplus.appender.out.logToStdErr = true
log4cplus.appender.out.ImmediateFlush = true
log4cplus.appender.out.layout = log4cplus::PatternLayout
log4cplus.appender.out.layout.ConversionPattern = %D{%Y-%m-%d %H:%M:%S} %D{%Q} %m%n
"""

_running = []


class Failed(Exception):
    """A peer did not start, or a sender did not get success for every instance."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def executable(name):
    """Debian keeps Orthanc in /usr/sbin, which is not in everyone's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def version(name):
    found = executable(name)
    if not found:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20)
    return (said.stdout or said.stderr).strip().splitlines()[0].strip("$ ")


def log_events(path):
    """(seconds since the epoch, text) of each line in a DCMTK log that has our pattern."""
    events = []
    for line in Path(path).read_text(errors="replace").splitlines():
        day, clock, millis, text = (line.split(" ", 3) + [""] * 4)[:4]
        try:
            at = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S").timestamp() + float(millis) / 1000
        except ValueError:
            continue
        events.append((at, text))
    return events


class Process:
    """A server in a process group of its own, so that its children end with it."""

    def __init__(self, name, command, folder, environment=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{name}.log"
        self.name, self.started = name, time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True, env={**os.environ, **(environment or {})})
        _running.append(self)

    @property
    def pid(self):
        return self.process.pid

    def wait_until(self, ready, limit=60):
        """Seconds from start until `ready()`."""
        while time.monotonic() - self.started < limit:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended at once: {self.log.read_text(errors='replace')[-2000:]}")
            if ready():
                return time.monotonic() - self.started
            time.sleep(0.002)
        raise Failed(f"{self.name} not ready after {limit} s")

    def memory(self, field):
        """VmRSS or VmHWM in MB, children included for storescp, which forks."""
        pids = [self.pid]
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        pids += [int(pid) for pid in children.read_text().split()] if children.exists() else []
        total = 0
        for pid in pids:
            status = Path(f"/proc/{pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
            total += sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
        return total / 1024

    def stop(self):
        if self in _running:
            _running.remove(self)
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()


def stop_all():
    for peer in list(_running):
        peer.stop()


def connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_status(port, path, method="GET", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


class Storescp(Process):
    """DCMTK's receiver: a child for each association, data sets written as received, nothing synced."""

    ae_title = "STORESCP"

    def __init__(self, folder, store):
        folder = Path(folder)
        folder.mkdir(parents=True)
        self.store = Path(store)
        self.store.mkdir(parents=True, exist_ok=True)
        (folder / "log.cfg").write_text(LOG_CONFIG)
        self.dicom_port = free_port()
        command = [executable("storescp"), "-lc", str(folder / "log.cfg"), "--fork", "+B", "-od", str(self.store),
                   "-aet", self.ae_title, str(self.dicom_port)]
        super().__init__("storescp", command, folder, {"TCP_NODELAY": "1"})
        self.ready_after = self.wait_until(lambda: connects(self.dicom_port))

    def empty(self):
        for file in self.store.iterdir():
            file.unlink()

    def arrivals(self, at_least):
        """When each instance had arrived whole, in order: the last write to its file, if of `at_least` bytes."""
        files = [file.stat() for file in self.store.iterdir()]
        return sorted(file.st_mtime_ns / 1e9 for file in files if file.st_size >= at_least)

    def wait_for(self, count, at_least, limit):
        """First and last of `count` arrivals."""
        until = time.monotonic() + limit
        while len(arrivals := self.arrivals(at_least)) < count:
            if time.monotonic() > until:
                raise Failed(f"{len(arrivals)} of {count} instances at the center after {limit} s")
            time.sleep(0.05)
        return arrivals[0], arrivals[-1]


class TakeNothing(Process):
    """benches/take_nothing.rs: answers success at once and keeps nothing. The sender's own limit."""

    ae_title = "NOTHING"

    def __init__(self, binary, folder):
        self.dicom_port = free_port()
        super().__init__("take_nothing", [str(binary), f"127.0.0.1:{self.dicom_port}"], folder)
        self.ready_after = self.wait_until(lambda: connects(self.dicom_port))

    def empty(self):
        """It has nothing."""


class Orthanc(Process):
    """Orthanc with its default of syncing each file, SQLite index, and optionally a Lua script that forwards, and `more`
    settings, such as plugins."""

    ae_title = "ORTHANC"

    def __init__(self, folder, lua=None, center_port=None, more=None):
        folder = Path(folder)
        folder.mkdir(parents=True)
        self.dicom_port, self.http_port = free_port(), free_port()
        settings = {
            "Name": "peer", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "DicomAet": self.ae_title, "DicomPort": self.dicom_port, "HttpPort": self.http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "SyncStorageArea": True,
            "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True, "Plugins": [], "StableAge": 60,
            "DicomModalities": {"center": ["STORESCP", "127.0.0.1", center_port]} if center_port else {},
        }
        settings.update(more or {})
        if lua:
            (folder / "forward.lua").write_text(lua)
            settings["LuaScripts"] = [str(folder / "forward.lua")]
        (folder / "orthanc.json").write_text(json.dumps(settings, indent=1))
        super().__init__("orthanc", [executable("Orthanc"), str(folder / "orthanc.json")], folder, {"TCP_NODELAY": "1"})
        self.ready_after = self.wait_until(
            lambda: connects(self.dicom_port) and http_status(self.http_port, "/system")[0] == 200)

    def empty(self):
        for study in json.loads(http_status(self.http_port, "/studies")[1] or b"[]"):
            http_status(self.http_port, f"/studies/{study}", "DELETE")


class Neisse(Process):
    """Neisse as a user starts it: embedded database and queue. Images from ONSITE are read on site and stay; those
    from SENDER go to the center."""

    ae_title = "NEISSE"

    def __init__(self, binary, folder, center_port, database="sqlite"):
        folder = Path(folder)
        (folder / "config" / "partners").mkdir(parents=True)
        self.dicom_port, self.http_port, self.hl7_port = free_port(), free_port(), free_port()
        self.write_config(folder / "config", database, center_port)
        super().__init__("neisse", [str(binary), "serve", "--config", str(folder / "config")], folder)
        self.ready_after = self.wait_until(lambda: http_status(self.http_port, "/readyz")[0] == 200)

    def write_config(self, config, database, center_port):
        (config / "neisse.toml").write_text(f"""\
[node]
name = "bench"
data_dir = "data"
[database]
url = "{database}"
[queue]
url = "memory"
[dicom]
listen = "127.0.0.1:{self.dicom_port}"
ae_title = "{self.ae_title}"
[hl7]
listen = "127.0.0.1:{self.hl7_port}"
[http]
listen = "127.0.0.1:{self.http_port}"
""")
        (config / "calendars.toml").write_text("")
        (config / "routes.toml").write_text("""\
[[route]]
name = "Read at the center"
from = ["sender"]
to = ["center"]
reading_mode = "remote_reading"

[[route]]
name = "Read on site"
from = ["onsite"]
to = ["origin"]
reading_mode = "on_site"
""")
        for partner in ("sender", "onsite", "center"):
            lines = [f'name = "{partner.title()}"', 'country = "DE"', 'time_zone = "Europe/Berlin"', 'language = "de"',
                     f'issuer = "{partner.upper()}"', "[dicom]"]
            if partner == "center":
                lines.append(f'deliver = {{ ae_title = "STORESCP", host = "127.0.0.1", port = {center_port}, '
                             "associations = 2 }")
            else:
                lines.append(f'senders = [{{ ae_title = "{partner.upper()}", address = "127.0.0.1" }}]')
            if partner == "sender":
                lines += ["[hl7]", 'senders = [{ facility = "SENDER" }]']
            lines += ["[orders]", "expected = false", "[reports]", "forms = []"]
            (config / "partners" / f"{partner}.toml").write_text("\n".join(lines) + "\n")

    def empty(self):
        """Keeps what it has: what a router holds is its own business, and part of what is measured."""


class Sent:
    """One run of dcmsend over one or several folders at once: when it began, had its first success, and ended."""

    def __init__(self, peer, folders, work, nodelay, calling="SENDER", timeout=900):
        work = Path(work)
        work.mkdir(parents=True, exist_ok=True)
        (work / "log.cfg").write_text(LOG_CONFIG)
        environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
        if nodelay:
            environment["TCP_NODELAY"] = "1"
        runs, logs = [], []
        for index, folder in enumerate(folders):
            logs.append(work / f"dcmsend-{index}.log")
            command = [executable("dcmsend"), "-lc", str(work / "log.cfg"), "-aet", calling, "-aec", peer.ae_title,
                       "127.0.0.1", str(peer.dicom_port), "+sd", str(folder)]
            with open(logs[-1], "wb") as log:
                runs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                                             env=environment))
        try:
            for run in runs:
                run.wait(timeout)
        finally:
            for run in runs:
                if run.poll() is None:
                    run.kill()
        events = [event for log in logs for event in log_events(log)]
        answers = [at for at, text in events if text.startswith("Received C-STORE Response (Success)")]
        starts = [at for at, text in events if text.startswith("Sending C-STORE Request")]
        if not answers or len(answers) != len(starts) or any(run.returncode for run in runs):
            raise Failed(f"dcmsend to {peer.name}: {len(answers)} of {len(starts)} instances answered with success")
        self.began, self.first, self.ended, self.count = min(starts), min(answers), max(answers), len(answers)

    @property
    def rate(self):
        return self.count / (self.ended - self.began)
