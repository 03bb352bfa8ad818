-- Specimens, what happened to them and what is late; what travels together.

CREATE TABLE specimens (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- Whose specimen it is; of one without order: who spoke of it.
    origin        TEXT    NOT NULL,
    -- Each id with its issuer; empty where none was given.
    placer        TEXT    NOT NULL,
    placer_issuer TEXT    NOT NULL,
    filler        TEXT    NOT NULL,
    filler_issuer TEXT    NOT NULL,
    -- All that is known of it.
    said          TEXT    NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('expected', 'collected', 'shipped', 'received', 'accepted', 'rejected', 'lost')),
    -- When what made the state happened.
    since_us      BIGINT  NOT NULL,
    -- 1: an order speaks of it.
    ordered       BIGINT  NOT NULL,
    -- Shipped only: when it should have been received. NULL: not watched, or it has passed and a person was told.
    due_us        BIGINT ,
    created_us    BIGINT  NOT NULL
);
-- Two hospitals may use equal ids: a specimen is known by its origin and its id.
CREATE UNIQUE INDEX specimens_by_placer ON specimens (origin, placer, placer_issuer) WHERE placer <> '';
CREATE INDEX specimens_by_filler ON specimens (origin, filler, filler_issuer) WHERE filler <> '';
CREATE INDEX specimens_with_placer ON specimens (placer) WHERE placer <> '';
CREATE INDEX specimens_with_filler ON specimens (filler) WHERE filler <> '';
CREATE INDEX specimens_due ON specimens (due_us) WHERE state = 'shipped' AND due_us IS NOT NULL;
CREATE INDEX specimens_by_since ON specimens (since_us);

-- SAC-3; one container may hold several specimens, one specimen fill several containers.
CREATE TABLE specimen_containers (
    specimen_id TEXT NOT NULL REFERENCES specimens (id),
    value       TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    PRIMARY KEY (specimen_id, value, issuer)
);
CREATE INDEX specimen_containers_by_value ON specimen_containers (value);

-- SPM-3: what it was taken from.
CREATE TABLE specimen_parents (
    specimen_id TEXT NOT NULL REFERENCES specimens (id),
    value       TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    PRIMARY KEY (specimen_id, value, issuer)
);
CREATE INDEX specimen_parents_by_value ON specimen_parents (value);

CREATE TABLE specimen_orders (
    specimen_id TEXT    NOT NULL REFERENCES specimens (id),
    order_id    TEXT    NOT NULL REFERENCES orders (id),
    joined_us   BIGINT  NOT NULL,
    PRIMARY KEY (specimen_id, order_id)
);
CREATE INDEX specimen_orders_by_order ON specimen_orders (order_id);

CREATE TABLE shipments (
    id           TEXT    NOT NULL PRIMARY KEY,
    from_partner TEXT    NOT NULL,
    -- Counts the shipments of a partner, from 1.
    number       BIGINT  NOT NULL,
    to_partner   TEXT    NOT NULL,
    made_us      BIGINT  NOT NULL,
    made_by      TEXT    NOT NULL,
    courier      TEXT    NOT NULL,
    due_us       BIGINT  NOT NULL
);
CREATE UNIQUE INDEX shipments_by_number ON shipments (from_partner, number);

CREATE TABLE shipment_specimens (
    shipment_id TEXT    NOT NULL REFERENCES shipments (id),
    -- The line of the list, from 1.
    line        BIGINT  NOT NULL,
    specimen_id TEXT    NOT NULL REFERENCES specimens (id),
    PRIMARY KEY (shipment_id, line)
);
CREATE INDEX shipment_specimens_by_specimen ON shipment_specimens (specimen_id);

CREATE TABLE specimen_events (
    id          TEXT    NOT NULL PRIMARY KEY,
    specimen_id TEXT    NOT NULL REFERENCES specimens (id),
    event       TEXT    NOT NULL CHECK (event IN ('collected', 'shipped', 'received', 'accepted', 'rejected', 'lost')),
    -- Where the specimen stood after it.
    state       TEXT    NOT NULL,
    note        TEXT    NOT NULL,
    -- By its teller's clock. NULL: no time was told.
    happened_us BIGINT ,
    told_us     BIGINT  NOT NULL,
    -- A partner, or 'operator'; and who it was there.
    teller      TEXT    NOT NULL,
    who         TEXT    NOT NULL,
    -- SPM-21, or what a person wrote.
    reason_code TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    shipment_id TEXT    REFERENCES shipments (id),
    -- 1: the other side does not know yet; 2: its reader does not, because there is none yet; 3: there is no case yet.
    untold      BIGINT  NOT NULL
);
CREATE INDEX specimen_events_by_specimen ON specimen_events (specimen_id, id);
CREATE INDEX specimen_events_untold ON specimen_events (id) WHERE untold = 1;
CREATE INDEX specimen_events_waiting ON specimen_events (id) WHERE untold >= 2;

-- What waits for a person, whether there is a case or not.
CREATE TABLE specimen_alarms (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL CHECK (kind IN ('not_received', 'not_ordered', 'no_specimen', 'rejected', 'lost')),
    specimen_id TEXT    REFERENCES specimens (id),
    order_id    TEXT    REFERENCES orders (id),
    partner     TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    raised_us   BIGINT  NOT NULL,
    ended_us    BIGINT ,
    ended_by    TEXT    NOT NULL,
    CHECK ((specimen_id IS NULL) <> (order_id IS NULL))
);
CREATE UNIQUE INDEX specimen_alarms_of_specimen ON specimen_alarms (specimen_id, kind) WHERE ended_us IS NULL AND specimen_id IS NOT NULL;
CREATE UNIQUE INDEX specimen_alarms_of_order ON specimen_alarms (order_id, kind) WHERE ended_us IS NULL AND order_id IS NOT NULL;
CREATE INDEX specimen_alarms_by_specimen ON specimen_alarms (specimen_id) WHERE specimen_id IS NOT NULL;
CREATE INDEX specimen_alarms_by_order ON specimen_alarms (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX specimen_alarms_open ON specimen_alarms (raised_us) WHERE ended_us IS NULL;

-- What other messages say of specimens, until it has been taken up.
CREATE TABLE specimen_news (
    id      TEXT    NOT NULL PRIMARY KEY,
    partner TEXT    NOT NULL,
    said    TEXT    NOT NULL,
    told_us BIGINT  NOT NULL
);

-- Every message about specimens once, as received.
CREATE TABLE specimen_contents (
    sha256      TEXT    NOT NULL,
    received_us BIGINT  NOT NULL,
    partner     TEXT    NOT NULL,
    content     BYTEA   NOT NULL,
    PRIMARY KEY (sha256, received_us)
);

-- 1: somebody has looked whether its specimens came in time.
ALTER TABLE orders ADD COLUMN specimens_looked BIGINT  NOT NULL DEFAULT 0;
CREATE INDEX orders_without_look ON orders (origin, received_us) WHERE discipline = 'pathology' AND state = 'open' AND specimens_looked = 0;
