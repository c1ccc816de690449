// Row addresses of scores and weighted_values. Tiles have 8 rows: pairs (i, g) of a key/value head's group, g fastest, for
// the queries i of a dispatch. So keys and values are read once for the G query heads that share them.

/// The query of a row, relative to the dispatch's first query. Rows past the end repeat the last one.
fn query_of(row: u32) -> u32 {
    return last_or(row) / group_size();
}

/// The query head of a row.
fn head_of(key_head: u32, row: u32) -> u32 {
    return key_head * group_size() + last_or(row) % group_size();
}

fn last_or(row: u32) -> u32 {
    return min(row, params.queries * group_size() - 1u);
}

/// Whether the row is past the end.
fn is_past(row: u32) -> bool {
    return row >= params.queries * group_size();
}

fn group_size() -> u32 {
    return params.problem.query_heads / params.problem.key_heads;
}

/// Offset of a row in q and out.
fn query_at(b: u32, key_head: u32, row: u32) -> u32 {
    let t = params.query_begin + query_of(row);
    return ((b * params.problem.query_len + t) * params.problem.query_heads + head_of(key_head, row)) * params.head_dim;
}

/// Offset of a row in scores and probs.
fn scores_at(b: u32, key_head: u32, row: u32) -> u32 {
    let head = b * params.problem.query_heads + head_of(key_head, row);
    return (head * params.queries + query_of(row)) * params.problem.key_len;
}
