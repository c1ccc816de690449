//! The named dimensions of a call, bound once from the shapes of its inputs.

use crate::{Config, Error, Result};

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
