//! What is timed: one row of the table each.

/// A layer or attention alone, at one shape.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    /// Whether the gradients are computed too.
    pub training: bool,
    /// C, if the row is a whole layer; `None` for attention alone.
    pub width: Option<usize>,
    /// B
    pub batch: usize,
    /// T
    pub query_len: usize,
    /// S
    pub key_len: usize,
    /// H
    pub query_heads: usize,
    /// Hkv
    pub key_heads: usize,
    /// D
    pub head_dim: usize,
    pub causal: bool,
}

impl Row {
    /// G = H / Hkv
    pub fn group_size(&self) -> usize {
        self.query_heads / self.key_heads
    }
}

#[rustfmt::skip]
const L1: Row =     row("L1",     Some(512),  [1, 512, 512],   [8, 2],  64,  true);
const L2: Row = row("L2", Some(256), [4, 128, 128], [8, 2], 32, true);
const L3: Row = row("L3", Some(1024), [1, 2048, 2048], [16, 4], 64, true);
const A1: Row = row("A1", None, [1, 1024, 1024], [8, 2], 64, true);
const A1_FULL: Row = row("A1full", None, [1, 1024, 1024], [8, 2], 64, false);
const A2: Row = row("A2", None, [1, 2048, 2048], [16, 4], 64, false);
const A3: Row = row("A3", None, [1, 1, 4096], [32, 8], 128, false);
const A4: Row = row("A4", None, [1, 1024, 1024], [8, 2], 128, true);

pub const ROWS: [Row; 12] = [
    L1,
    L2,
    L3,
    A1,
    A1_FULL,
    A2,
    A3,
    A4,
    training("L1train", L1),
    training("L2train", L2),
    training("L3train", L3),
    training("A1train", A1),
];

const fn training(name: &'static str, row: Row) -> Row {
    Row { name, training: true, ..row }
}

const fn row(
    name: &'static str,
    width: Option<usize>,
    [batch, query_len, key_len]: [usize; 3],
    [query_heads, key_heads]: [usize; 2],
    head_dim: usize,
    causal: bool,
) -> Row {
    Row { name, training: false, width, batch, query_len, key_len, query_heads, key_heads, head_dim, causal }
}
