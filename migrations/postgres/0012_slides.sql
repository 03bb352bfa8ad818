-- Orders that make a case together, and slides that come before their order.

-- ORC-4, with its issuer; empty where none was given.
ALTER TABLE orders ADD COLUMN group_number TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN group_issuer TEXT NOT NULL DEFAULT '';
CREATE INDEX orders_by_group ON orders (origin, group_number, group_issuer) WHERE group_number <> '';
-- A report may name any order of its case.
CREATE INDEX orders_with_placer ON orders (placer) WHERE placer <> '';
CREATE INDEX orders_with_filler ON orders (filler) WHERE filler <> '';

-- What the images of a case name of containers and specimens.
CREATE TABLE case_specimens (
    case_id TEXT NOT NULL REFERENCES cases (id),
    origin  TEXT NOT NULL,
    value   TEXT NOT NULL,
    issuer  TEXT NOT NULL,
    PRIMARY KEY (case_id, value, issuer)
);
CREATE INDEX case_specimens_by_value ON case_specimens (origin, value, issuer);
