"""What Neisse has to reach: each figure of `against-peers` beside its bound, and whether it keeps it.

In: the results of a run. Out: lines of text. A bound is a figure of its own, or so many times what another contender
reached in the same run. A row that was not run has no line.
"""

import statistics

# row, whose figure, the bound, times whose figure ("" for the bound itself); whether more is better says the row.
BOUNDS = [
    ("a", "neisse", 10, "storescp"),
    ("a", "neisse", 10, "Orthanc"),
    ("a", "neisse", 0.8, "disk, 1 writer(s)"),
    ("b1", "neisse", 1.2, "Orthanc"),
    ("b1", "neisse", 0.8, "disk, 1 writer(s)"),
    ("b4", "neisse", 3, "Orthanc"),
    ("b4", "neisse", 0.8, "disk, 4 writer(s)"),
    ("c", "neisse", 0.1, ""),
    ("e", "neisse", 100, ""),
    ("f memory", "neisse", 40, ""),
    ("f start", "neisse", 1, ""),
    ("g1", "neisse", 0.7, "disk, the message"),
    ("g1", "neisse, PostgreSQL", 0.7, "disk, the message"),
    ("g16", "neisse", 1200, ""),
    ("g16", "neisse", 0.6, "SQLite alone"),
    ("g16", "neisse, PostgreSQL", 1200, ""),
    ("g16", "neisse, PostgreSQL", 0.6, "PostgreSQL alone"),
    *((f"h{number}{key} 99", "neisse", bound, "") for number, keys, bound in ((1, "dpn", 50), (2, "pndi", 50), (3, "dafcp", 30))
      for key in keys),
    *((f"h1{key} 99", "neisse", 1 / 5, "Orthanc, 10,000 steps") for key in "dpn"),
    *((f"h2{key} 99", "neisse", 1 / 5, "Orthanc, 20,000 studies") for key in "pndi"),
    ("h4", "neisse", 3, "Orthanc"),
    ("h5-1", "neisse", 1, "neisse, C-STORE"),
    ("h5-4", "neisse", 1, "neisse, C-STORE"),
]


def lines(results, rows):
    """Those of the rows that were run."""
    said = []
    for row, whose, bound, of in BOUNDS:
        contenders, (what, unit, more_is_better) = results.get(row, {}), rows[row]
        if whose not in contenders or of and of not in contenders:
            continue
        reached = statistics.median(contenders[whose])
        allowed = bound * (statistics.median(contenders[of]) if of else 1)
        kept = reached >= allowed if more_is_better else reached <= allowed
        beside = f" = {bound:.2g} x {of}" if of else ""
        said.append(f"{'kept' if kept else 'NOT KEPT':<10}{row:<10}{whose:<20}{reached:>10.2f} {'>=' if more_is_better else '<='} "
                    f"{allowed:.2f} {unit}{beside}")
    return ["", "What it has to reach", *said] if said else []
