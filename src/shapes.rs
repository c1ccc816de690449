//! The named dimensions of a call, bound once from the shapes of its inputs.

use crate::{Config, Error, Result};

/// The widest heads that the kernels take: they loop over a head's width within one dispatch.
pub(crate) const MAX_HEAD_DIM: usize = 32_768;

/// The dimensions of one call. See the table in the crate's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Dims {
    /// B
    pub(crate) batch: usize,
    /// T
    pub(crate) query_len: usize,
    /// S
    pub(crate) key_len: usize,
    /// H
    pub(crate) query_heads: usize,
    /// Hkv
    pub(crate) key_heads: usize,
    /// D
    pub(crate) head_dim: usize,
}

impl Dims {
    /// G = H / Hkv
    pub(crate) fn group_size(&self) -> usize {
        self.query_heads / self.key_heads
    }

    /// The shape of scores: `[B,H,T,S]`.
    pub(crate) fn scores_shape(&self) -> Vec<usize> {
        vec![self.batch, self.query_heads, self.query_len, self.key_len]
    }

    /// Binds the dimensions of q `[B,T,H,D]`, k and v `[B,S,Hkv,D]`, and checks that they agree.
    pub(crate) fn of_heads(operation: &'static str, q: &[usize], k: &[usize], v: &[usize]) -> Result<Self> {
        let refuse = |name: &str, expected: String, got: &[usize]| {
            Err(Error::argument(operation, name, expected, format!("shape {got:?}")))
        };
        let [batch, query_len, query_heads, head_dim] = *q else {
            return refuse("q", "of shape [B, T, H, D]".into(), q);
        };
        let [k_batch, key_len, key_heads, k_dim] = *k else {
            return refuse("k", "of shape [B, S, Hkv, D]".into(), k);
        };
        if q.contains(&0) || k.contains(&0) {
            return refuse(
                if q.contains(&0) { "q" } else { "k" },
                "free of axes of length 0".into(),
                if q.contains(&0) { q } else { k },
            );
        }
        if k_batch != batch || k_dim != head_dim {
            return refuse("k", format!("of q's batch size {batch} and head_dim {head_dim}"), k);
        }
        if v != k {
            return refuse("v", format!("of k's shape {k:?}"), v);
        }
        if !query_heads.is_multiple_of(key_heads) {
            return refuse("q", format!("of a number of heads divisible by k's {key_heads}"), q);
        }
        check_head_dim(operation, head_dim)?;
        Ok(Self { batch, query_len, key_len, query_heads, key_heads, head_dim })
    }

    /// Binds the dimensions of query `[B,T,C]`, value `[B,S,Cv]` and key `[B,S,Ck]`, and checks that they agree.
    pub(crate) fn new(
        operation: &'static str,
        config: &Config,
        query: &[usize],
        value: &[usize],
        key: Option<&[usize]>,
    ) -> Result<Self> {
        let check = |name: &str, shape: &[usize], layout: &str| match shape {
            [_, _, _] if shape.iter().all(|&n| n > 0) => Ok(()),
            _ => Err(Error::argument(
                operation,
                name,
                format!("of shape {layout} with no axis of length 0"),
                format!("{shape:?}"),
            )),
        };
        check("query", query, "[B, T, C]")?;
        check("value", value, "[B, S, Cv]")?;
        if let Some(key) = key {
            check("key", key, "[B, S, Ck]")?;
            if key[..2] != value[..2] {
                return Err(Error::argument(
                    operation,
                    "key",
                    format!("of shape [{}, {}, Ck] like value's batch and length", value[0], value[1]),
                    format!("{key:?}"),
                ));
            }
        }
        if value[0] != query[0] {
            return Err(Error::argument(
                operation,
                "value",
                format!("of query's batch size {}", query[0]),
                format!("shape {value:?}"),
            ));
        }
        check_head_dim(operation, config.head_dim)?;
        Ok(Self {
            batch: query[0],
            query_len: query[1],
            key_len: value[1],
            query_heads: config.num_query_heads,
            key_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        })
    }
}

fn check_head_dim(operation: &'static str, head_dim: usize) -> Result<()> {
    if head_dim > MAX_HEAD_DIM {
        return Err(Error::argument(
            operation,
            "head_dim",
            format!("at most {MAX_HEAD_DIM}"),
            head_dim.to_string(),
        ));
    }
    Ok(())
}
