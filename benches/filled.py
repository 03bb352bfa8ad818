"""A database as it is after years, written by SQL alone into the tables that Neisse has made: a million scheduled steps, and
100,000 studies of ten instances with an open reading task each. And a part of the same for peers, as files.

In: the SQLite file of a node that is not running; or a folder. Out: rows and files whose numbers are a function of their
position, so that every query is known to have the same number of answers here and there. No images lie behind the
rows, no patient behind the names.
"""

import sqlite3
import struct
import time

import dimse
import samples

STEPS, STUDIES, INSTANCES = 1_000_000, 100_000, 10
STATIONS, ALIKE, STUDIES_A_DAY = 50, 20, 100
FIRST_DAY = "2024-01-01"

# Of `i`, the number of a step or study: 20 steps for each scanner and day, 20 names that begin alike, two a patient.
_ID = "printf('00000000-0000-7000-8000-%012d', i)"
_DAY = f"strftime('%Y%m%d', '{FIRST_DAY}', '+' || ({{}}) || ' days')"
_STEP_DAY = _DAY.format(f"i / {STATIONS} % :days")
_STEP_NAME = f"printf('%s%06d^Anna', '{{}}', i / {ALIKE})"
_STEP = f"""'{{"patient_name":"' || {_STEP_NAME.format('Muster')} || '","birth_date":"19700101","sex":"F","patients":[{{"value":"P' || (i / 2)
    || '","issuer":"SENDER"}}],"procedure_code":"CTHEAD","procedure":"CT Kopf nativ","requested":{{"procedure_id":"R' || i
    || '","requesting_physician":"Sample^Doctor","reason":"Sturz","location":"CHIR^12^1","steps":[{{"id":"S' || i
    || '","start":"' || {_STEP_DAY} || '083000","modality":"CT","station_ae":"CT' || (i % {STATIONS})
    || '","station_name":"CT1","protocol":{{"value":"CTHEAD","meaning":"CT Kopf nativ","scheme":"L"}}}}]}}}}'"""
_STUDY_DAY = _DAY.format(f"i / {STUDIES_A_DAY}")
_STUDY_NAME = f"printf('%s%06d^Anna', '{{}}', i / {ALIKE})"
_STUDY = f"""'{{"patient_id":{{"value":"Q' || (i / 2) || '","issuer":"SENDER"}},"patient_name":"' || {_STUDY_NAME.format('Probe')}
    || '","birth_date":"19700101","sex":"F","accession":{{"value":"B' || i || '","issuer":"SENDER"}},"modality":"CT",
    "description":"CT Kopf nativ","study_id":"T' || i || '","study_date":"' || {_STUDY_DAY} || '","study_time":"083000"}}'"""


def study_uid(number):
    return f"{samples.ROOT}7{number:08d}"


def _statements(now, steps, studies):
    def series(count):
        return f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})"

    case = "printf('00000000-0000-7000-9000-%012d', i)"
    uid = f"'{samples.ROOT}7' || printf('%08d', i)"
    yield f"""INSERT INTO orders (id, origin, state, placer, placer_issuer, filler, filler_issuer, accession,
        accession_issuer, patient_id, patient_issuer, modality, priority, facts, received_us, changed_us) {series(steps)}
        SELECT {_ID}, 'sender', 'open', 'O' || i, 'HIS', '', '', 'A' || i, 'SENDER', 'P' || (i / 2), 'SENDER', 'CT',
        'routine', {_STEP}, {now}, {now} FROM n"""
    yield f"""INSERT INTO scheduled_steps (order_id, number, origin, state, listed, patient_id, accession, name_key, modality,
        station, start_at, study_uid, step_id) {series(steps)} SELECT {_ID}, 1, 'sender', 'scheduled', 1, 'P' || (i / 2),
        'A' || i, lower({_STEP_NAME.format('muster')}), 'CT', 'CT' || (i % {STATIONS}), {_STEP_DAY} || '083000',
        '{samples.ROOT}8' || i, 'S' || i FROM n"""
    yield f"""INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, patient_id,
        patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, routed_to, first_us,
        last_us, whole_us, attention, reader, searchable) {series(studies)} SELECT {case}, 'sender', {uid}, 'preliminary',
        'radiology', 'routine', 'SENDER', 'NEISSE', {_STUDY}, 'Q' || (i / 2), 'SENDER', 'B' || i, 'SENDER', '', '',
        {INSTANCES}, {INSTANCES} * 526000, {INSTANCES}, {now}, {now}, {now}, '', 'center', 1 FROM n"""
    yield f"""INSERT INTO instances (case_id, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, data_at,
        length, sha256, received_us, conflict, instance_number) {series(studies)}, k(j) AS (SELECT 1 UNION ALL SELECT j + 1
        FROM k WHERE j < {INSTANCES}) SELECT {case}, j, '{samples.CT}', {uid} || '1' || j, '{samples.EXPLICIT_VR_LE}',
        {uid} || '0', '00000000-0000-7000-a000-000000000000', 4096 * j, 4096 * j + 512, 526000,
        printf('%064x', i * {INSTANCES} + j), {now}, 0, j FROM n CROSS JOIN k"""
    yield f"""INSERT INTO series (case_id, series_uid, modality, number, description, body_part, started_on, started_at, instances)
        {series(studies)} SELECT {case}, {uid} || '0', 'CT', 1, 'Kopf', 'HEAD', '', '', {INSTANCES} FROM n"""
    for partner in ("sender", "center"):
        yield f"""INSERT INTO study_views (partner, case_id, study_uid, study_at, name_key, patient_id, accession, study_id,
            referrer_key, description_key) {series(studies)} SELECT '{partner}', {case}, {uid}, {_STUDY_DAY} || '083000',
            lower({_STUDY_NAME.format('probe')}), 'Q' || (i / 2), 'B' || i, 'T' || i, '', 'ct kopf nativ' FROM n"""
        yield f"""INSERT INTO study_modalities (partner, modality, study_at, case_id) {series(studies)} SELECT '{partner}', 'CT',
            {_STUDY_DAY} || '083000', {case} FROM n"""
    yield f"""INSERT INTO tasks (uid, case_id, reader, origin, round, state, transaction_uid, claimed_by, rank, label, scheduled_us,
        created_us, updated_us, ready, attributes, report_id, reason, replaces) {series(studies)} SELECT {uid} || '9', {case},
        'center', 'sender', 1, 'SCHEDULED', '', '', 1 + i % 3, 'rule ' || (i % {ALIKE}), {now} + i, {now}, {now}, 1, '{{}}', '', '', ''
        FROM n"""


def fill(file, steps=STEPS, studies=STUDIES):
    """Seconds it took, and MB the file then has."""
    began = time.monotonic()
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -500000")
    for statement in _statements(time.time_ns() // 1000, steps, studies):
        database.execute("BEGIN")
        database.execute(statement, {"days": days_of(steps)})
        database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return time.monotonic() - began, file.stat().st_size / 1e6


def day(number):
    """Of step or study days, counted from the first."""
    return time.strftime("%Y%m%d", time.gmtime(1704067200 + 86400 * number))


def file_of(sop_class, uid, data):
    meta = samples.element(2, 1, "OB", b"\0\1") + samples.element(2, 2, "UI", sop_class)
    meta += samples.element(2, 3, "UI", uid) + samples.element(2, 0x10, "UI", samples.EXPLICIT_VR_LE)
    meta += samples.element(2, 0x12, "UI", samples.ROOT + "1")
    return bytes(128) + b"DICM" + samples.element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + data


def worklist_files(folder, count):
    """The worklist of Orthanc's plugin: one file a step, with as many scanners and days as make 20 steps of each."""
    folder.mkdir(parents=True)
    make, stations = samples.element, stations_of(count)
    for i in range(count):
        step = (make(8, 0x60, "CS", "CT") + make(0x40, 1, "AE", f"CT{i % stations}")
                + make(0x40, 2, "DA", day(i // stations % days_of(count))) + make(0x40, 3, "TM", "083000")
                + make(0x40, 7, "LO", "CT Kopf nativ") + make(0x40, 9, "SH", f"S{i}"))
        data = (make(8, 0x50, "SH", f"A{i}") + make(8, 0x90, "PN", "") + make(0x10, 0x10, "PN", f"Muster{i // ALIKE:06d}^Anna")
                + make(0x10, 0x20, "LO", f"P{i // 2}") + make(0x10, 0x30, "DA", "19700101") + make(0x10, 0x40, "CS", "F")
                + make(0x20, 0xD, "UI", f"{samples.ROOT}8{i}") + make(0x32, 0x1032, "PN", "Sample^Doctor")
                + make(0x32, 0x1060, "LO", "CT Kopf nativ") + dimse.sequence(0x40, 0x100, step)
                + make(0x40, 0x1001, "SH", f"R{i}"))
        (folder / f"{i:06d}.wl").write_bytes(file_of(dimse.MODALITY_WORKLIST, f"{samples.ROOT}8{i}", data))


def stations_of(count):
    """As few steps as a peer's have fewer scanners, so that there are ten days at least."""
    return min(STATIONS, count // (10 * ALIKE))


def days_of(count):
    return count // stations_of(count) // ALIKE


def study_file(i):
    """One small instance of a study, for a peer that has no other way in."""
    make = samples.element
    data = (make(8, 5, "CS", "ISO_IR 100") + make(8, 0x16, "UI", samples.CT) + make(8, 0x18, "UI", study_uid(i) + "11")
            + make(8, 0x20, "DA", day(i // STUDIES_A_DAY)) + make(8, 0x30, "TM", "083000")
            + make(8, 0x50, "SH", f"B{i}") + make(8, 0x60, "CS", "CT") + make(8, 0x90, "PN", "")
            + make(8, 0x1030, "LO", "CT Kopf nativ") + make(0x10, 0x10, "PN", f"Probe{i // ALIKE:06d}^Anna")
            + make(0x10, 0x20, "LO", f"Q{i // 2}") + make(0x10, 0x30, "DA", "19700101") + make(0x10, 0x40, "CS", "F")
            + make(0x20, 0xD, "UI", study_uid(i)) + make(0x20, 0xE, "UI", study_uid(i) + "0")
            + make(0x20, 0x10, "SH", f"T{i}") + make(0x20, 0x11, "IS", "1") + make(0x20, 0x13, "IS", "1"))
    return file_of(samples.CT, study_uid(i) + "11", data)
