-- Critical results: whoever asked must say that they have them.

CREATE TABLE critical_results (
    report_id       TEXT    NOT NULL PRIMARY KEY REFERENCES reports (id),
    case_id         TEXT    NOT NULL REFERENCES cases (id),
    asked_us        INTEGER NOT NULL,
    -- Until then the origin is to acknowledge it.
    due_us          INTEGER NOT NULL,
    acknowledged_us INTEGER,
    -- A partner by HL7, or who a person says it was.
    acknowledged_by TEXT    NOT NULL DEFAULT '',
    -- What waits on the case since nobody did in time; empty: nothing.
    told            TEXT    NOT NULL DEFAULT '',
    CHECK ((acknowledged_us IS NULL) = (acknowledged_by = ''))
) STRICT;
CREATE INDEX critical_results_by_case ON critical_results (case_id);
CREATE INDEX critical_results_open ON critical_results (due_us) WHERE acknowledged_us IS NULL;

-- An acknowledgement names the message it is about.
CREATE INDEX report_forms_by_control_id ON report_forms (control_id) WHERE control_id <> '';
