-- Offers that move on when nobody has claimed them in time.

CREATE INDEX tasks_unclaimed ON tasks (expires_us, uid) WHERE state = 'SCHEDULED' AND expires_us IS NOT NULL;
