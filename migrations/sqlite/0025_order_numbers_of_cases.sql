-- Most cases have no order number. With those left out, PostgreSQL, which plans for any number, knows that a look-up by one
-- finds few, and a case without numbers is written faster.
DROP INDEX cases_by_placer_order;
DROP INDEX cases_by_filler_order;
CREATE INDEX cases_by_placer_order ON cases (placer_order) WHERE placer_order <> '';
CREATE INDEX cases_by_filler_order ON cases (filler_order) WHERE filler_order <> '';
