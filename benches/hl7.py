"""HL7 for the benchmark: senders of orders over MLLP, and what the databases and the disk do with the same rows alone.

In: where to send, and how many connections. Out: rates of messages. Every order is new (numbers, study, control id), and
each connection waits for its MSA|AA before it sends the next: an answer that is another one fails the run. Run with
`take-nothing PORT` it is a receiver that answers AA at once and keeps nothing: what the sender reaches against it is the
sender's own limit.
"""

import hashlib
import os
import selectors
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import peers

MIGRATIONS = Path(__file__).parent.parent / "migrations"
CONNECTIONS = 16
ANSWER = "MSH|^~\\&|NEISSE|NEISSE|HIS|SENDER|20260105101010||ORR^O02|1|P|2.5.1\rMSA|AA|C0\rORC|OK|P0^SENDER\r"

_serial = 0


def next_order():
    """A number no other order of any run has."""
    global _serial
    _serial += 1
    return time.time_ns() // 1000 * 100000 + _serial % 100000


def order(number):
    """An ORM^O01 as a hospital's system writes it, in MLLP's frame. No patient is behind it."""
    text = (
        f"MSH|^~\\&|HIS|SENDER|NEISSE|NEISSE|20260105101010||ORM^O01|C{number}|P|2.5.1||||||8859/1\r"
        f"PID|1||P{number}^^^SENDER||Synthetic^Sample||19700101|O\r"
        "PV1|1|I|CHIR^12^1\r"
        f"ORC|NW|P{number}^HIS|F{number}^RIS||SC||^^^^^R||20260105101000\r"
        f"OBR|1|P{number}^HIS|F{number}^RIS|CTHEAD^CT Kopf nativ^L|||20260105101000||||||Sturz|||||A{number}||||||CT\r"
        f"ZDS|2.25.{number}^HIS^Application^DICOM\r")
    return b"\x0b" + text.encode() + b"\x1c\r"


class Sent:
    """Orders sent over `connections` for `seconds`; `rate` in messages a second."""

    def __init__(self, port, connections, seconds):
        self.ready = selectors.DefaultSelector()
        self.count, self.until = 0, None
        lines = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(connections)]
        for line in lines:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ready.register(line, selectors.EVENT_READ, {"answer": b""})
        began = time.monotonic()
        self.until = began + seconds
        for line in lines:
            line.sendall(order(next_order()))
        self.open = connections
        while self.open:
            self.take()
        self.rate = self.count / (time.monotonic() - began)
        for line in lines:
            line.close()

    def take(self):
        happened = self.ready.select(timeout=10)
        if not happened:
            raise peers.Failed(f"no answer within 10 s, after {self.count} orders")
        for key, _ in happened:
            came = key.fileobj.recv(65536)
            answer = key.data["answer"] + came
            if not came:
                raise peers.Failed(f"the line was closed after {self.count} orders")
            if not answer.endswith(b"\x1c\r"):
                key.data["answer"] = answer
                continue
            if b"MSA|AA|" not in answer:
                raise peers.Failed(f"refused: {answer[:300]!r}")
            key.data["answer"], self.count = b"", self.count + 1
            if time.monotonic() < self.until:
                key.fileobj.sendall(order(next_order()))
            else:
                self.ready.unregister(key.fileobj)
                self.open -= 1


class TakeNothing(peers.Process):
    """This file as a receiver that keeps nothing."""

    def __init__(self, folder):
        self.hl7_port = peers.free_port()
        super().__init__("take_nothing", [sys.executable, __file__, "take-nothing", str(self.hl7_port)], folder)
        self.wait_until(lambda: peers.connects(self.hl7_port))


def take_nothing(port):
    answer = b"\x0b" + ANSWER.encode() + b"\x1c\r"
    ready = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port))
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                line, _ = listener.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(line, selectors.EVENT_READ)
                continue
            came = key.fileobj.recv(65536)
            if not came:
                ready.unregister(key.fileobj)
                key.fileobj.close()
            elif came.endswith(b"\x1c\r"):
                key.fileobj.sendall(answer)


def rows_of(number):
    """The rows an order becomes: table, columns and values."""
    now, message = time.time_ns() // 1000, order(number)[1:-2]
    digest, key = hashlib.sha256(message).hexdigest(), str(uuid.UUID(int=time.time_ns() << 64 | number % (1 << 64)))
    facts = ('{"patient_name":"Synthetic^Sample","birth_date":"19700101","sex":"O","patients":[{"value":"P%d",'
             '"issuer":"SENDER"}],"procedure_code":"CTHEAD","procedure":"CT Kopf nativ"}' % number)
    return [
        ("orders", "id, origin, state, placer, placer_issuer, filler, filler_issuer, accession, accession_issuer, "
         "patient_id, patient_issuer, modality, priority, facts, received_us, changed_us",
         (key, "sender", "open", f"P{number}", "HIS", f"F{number}", "RIS", f"A{number}", "SENDER", f"P{number}",
          "SENDER", "CT", "routine", facts, now, now)),
        ("order_studies", "order_id, origin, study_uid", (key, "sender", f"2.25.{number}")),
        ("order_messages", "order_id, received_us, sha256, sequence, control, answer, number",
         (key, now, digest, 1, "NW", "OK", 1)),
        ("messages", "partner, application, facility, control_id, sha256, received_us, answer",
         ("sender", "HIS", "SENDER", f"C{number}", digest, now, ANSWER.encode())),
        ("order_contents", "sha256, received_us, content", (digest, now, message)),
    ]


class Sqlite:
    """SQLite as Neisse sets it up, without Neisse: its writer is one, so 16 share a commit as transactions of 16."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.file = folder / "alone.sqlite"
        self.database = sqlite3.connect(self.file, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute("PRAGMA foreign_keys = ON")
        for file in sorted((MIGRATIONS / "sqlite").glob("*.sql")):
            self.database.executescript(file.read_text())

    def rate(self, together, seconds):
        count, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            self.database.execute("BEGIN IMMEDIATE")
            for _ in range(together):
                for table, columns, values in rows_of(next_order()):
                    marks = ", ".join("?" * len(values))
                    self.database.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
            self.database.execute("COMMIT")
            count += together
        return count / (time.monotonic() - began)

    def log_bytes(self):
        """What one order appends to the write-ahead log."""
        self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.database.execute("PRAGMA wal_autocheckpoint = 0")
        log = Path(f"{self.file}-wal")
        before = log.stat().st_size
        for _ in range(20):
            self.rate(1, 0.0001)
        taken = (log.stat().st_size - before) // 20
        self.database.execute("PRAGMA wal_autocheckpoint = 1000")
        return taken


def postgres_tool(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name)


def as_postgres(command):
    """PostgreSQL does not run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


class Postgres(peers.Process):
    """A private PostgreSQL as it comes: it syncs, and shares a commit among those who wait for it."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.port, data = peers.free_port(), folder / "data"
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        made = as_postgres([postgres_tool("initdb"), "-D", str(data), "-U", "neisse", "-A", "trust", "-E", "UTF8",
                            "--locale=C.UTF-8"])
        subprocess.run(made, check=True, capture_output=True, cwd="/", timeout=120)
        super().__init__("postgres", as_postgres([
            postgres_tool("postgres"), "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c",
            "unix_socket_directories="]), folder)
        self.wait_until(lambda: self.run("SELECT 1", check=False).returncode == 0)
        self.run("CREATE DATABASE neisse")

    @property
    def where(self):
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "neisse"]

    @property
    def url(self):
        return f"postgres://neisse@127.0.0.1:{self.port}/neisse"

    def run(self, *statements, database="postgres", check=True):
        command = [postgres_tool("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", *self.where, database]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)

    def prepare_alone(self):
        """The same tables in a database of their own, and the script that fills them."""
        self.run("CREATE DATABASE alone")
        for file in sorted((MIGRATIONS / "postgres").glob("*.sql")):
            self.run(file.read_text(), database="alone")
        lines, number = ["\\set n random(1000000000000000, 9000000000000000)", "BEGIN;"], 7123456789012345
        rows = rows_of(number)
        key, digest = rows[0][2][0], rows[4][2][0]
        for table, columns, values in rows:
            written = ", ".join(written_with(column, value, number, key, digest)
                                for column, value in zip(columns.split(", "), values))
            lines.append(f"INSERT INTO {table} ({columns}) VALUES ({written});")
        self.script = self.folder / "orders.sql"
        self.script.write_text("\n".join([*lines, "COMMIT;"]) + "\n")

    def rate(self, writers, seconds):
        """pgbench: connections that each write one order a transaction."""
        command = [postgres_tool("pgbench"), "-n", "-M", "prepared", "-f", str(self.script), "-c", str(writers), "-T",
                   str(max(1, round(seconds))), *self.where, "alone"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        for line in said.stdout.splitlines():
            if line.startswith("tps = "):
                return float(line.split()[2])
        raise peers.Failed(f"pgbench: {said.stdout[-500:]} {said.stderr[-500:]}")


def written_with(column, value, number, key, digest):
    """A value as pgbench writes it: `number` is drawn anew for each order, and every value as long as Neisse's."""
    if column in ("received_us", "changed_us"):
        return ":n::bigint"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, int):
        return str(value)
    if value == key:
        return "lpad(:n::text, 36, '0')"
    if value == digest:
        return "md5(:n::text) || md5('1' || :n::text)"
    return f"'{value}'".replace(str(number), "' || :n::text || '")


def disk_rate(folder, size, seconds):
    """`size` bytes appended and synced, again and again, by one writer."""
    folder.mkdir(parents=True, exist_ok=True)
    path, content, count = folder / "appended", os.urandom(size), 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        os.write(file, content)
        os.fdatasync(file)
        count += 1
    took = time.monotonic() - began
    os.close(file)
    path.unlink()
    return count / took


if __name__ == "__main__" and sys.argv[1:2] == ["take-nothing"]:
    take_nothing(int(sys.argv[2]))
