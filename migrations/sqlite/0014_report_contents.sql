-- Large reports in pieces, so that none is in memory several times over to be written or read.

-- Where `content` of a report or a form is empty: its pieces, in order, none larger than 1 MiB. What was kept before stays
-- where it is.
CREATE TABLE report_contents (
    report_id TEXT    NOT NULL REFERENCES reports (id),
    -- As in report_forms; empty: the report as received.
    form      TEXT    NOT NULL,
    -- From 0.
    seq       INTEGER NOT NULL,
    bytes     BLOB    NOT NULL,
    PRIMARY KEY (report_id, form, seq)
) STRICT;
