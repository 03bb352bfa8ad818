-- Which scheduled steps a performed one was, by their ids: an order that is changed may have its steps in other places.
ALTER TABLE performed_orders RENAME TO performed_orders_by_number;
CREATE TABLE performed_orders (
    origin   TEXT NOT NULL,
    uid      TEXT NOT NULL,
    order_id TEXT NOT NULL,
    step_id  TEXT NOT NULL,
    PRIMARY KEY (origin, uid, order_id, step_id)
);
INSERT INTO performed_orders (origin, uid, order_id, step_id)
    SELECT DISTINCT p.origin, p.uid, p.order_id, s.step_id FROM performed_orders_by_number p
    JOIN scheduled_steps s ON s.order_id = p.order_id AND s.number = p.number;
DROP TABLE performed_orders_by_number;
CREATE INDEX performed_orders_by_order ON performed_orders (order_id, step_id);
