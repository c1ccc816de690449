//! The named dimensions of a call, bound once from the shapes of its inputs.

use crate::{Config, Error, Result};

/// The widest heads that the kernels support: one dispatch loops over the whole width of a head.
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

/// A range of the queries of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queries {
    pub(crate) begin: usize,
    pub(crate) count: usize,
}

impl Dims {
    /// All queries, in ranges whose probabilities `[B,H,count,S]` take at most `words` words, or one query each.
    pub(crate) fn query_ranges(&self, words: u64) -> Option<impl Iterator<Item = Queries> + use<>> {
        let one_query = (self.batch * self.query_heads) as u64 * self.key_len as u64;
        let most = usize::try_from(words / one_query).unwrap_or(usize::MAX).min(self.query_len);
        let query_len = self.query_len;
        (most > 0).then(|| {
            // Ranges of about equal length, rather than a short last one.
            let count = query_len.div_ceil(query_len.div_ceil(most));
            (0..query_len)
                .step_by(count)
                .map(move |begin| Queries { begin, count: count.min(query_len - begin) })
        })
    }

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
        for (name, shape) in [("q", q), ("k", k)] {
            if shape.contains(&0) {
                return refuse(name, "free of axes of length 0".into(), shape);
            }
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

/// The attention mask's shape as rank 4 `[B or 1, H or 1, T or 1, S or 1]`. Fails unless it broadcasts to these dimensions.
///
/// Rank 2 is `(T,S)`, rank 3 `(B,T,S)`, rank 4 `(B,H,T,S)`.
pub(crate) fn attention_mask_shape(
    operation: &'static str,
    shape: &[usize],
    dims: &Dims,
) -> Result<[usize; 4]> {
    let full = match *shape {
        [t, s] => Some([1, 1, t, s]),
        [b, t, s] => Some([b, 1, t, s]),
        [b, h, t, s] => Some([b, h, t, s]),
        _ => None,
    };
    let wanted = [dims.batch, dims.query_heads, dims.query_len, dims.key_len];
    full.filter(|full| full.iter().zip(wanted).all(|(&have, want)| have == 1 || have == want)).ok_or_else(
        || {
            let [b, h, t, s] = wanted;
            let expected = format!(
                "broadcastable to [T={t}, S={s}], [B={b}, T={t}, S={s}] or [B={b}, H={h}, T={t}, S={s}]"
            );
            Error::argument(operation, "attention_mask", expected, format!("shape {shape:?}"))
        },
    )
}

/// Fails unless a sequence mask has shape `[B, length]`.
pub(crate) fn check_sequence_mask(
    operation: &'static str,
    name: &str,
    shape: &[usize],
    wanted: [usize; 2],
) -> Result<()> {
    if shape != wanted {
        return Err(Error::argument(operation, name, format!("of shape {wanted:?}"), format!("{shape:?}")));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_ranges_cover_every_query_once_and_fit() {
        let dims = Dims { batch: 2, query_len: 101, key_len: 30, query_heads: 4, key_heads: 2, head_dim: 8 };
        let one = 2 * 4 * 30;
        assert!(dims.query_ranges(one - 1).is_none());
        for words in [one, one + 1, 3 * one, 50 * one, 100 * one, 101 * one, 1000 * one, u64::MAX] {
            let ranges: Vec<_> = dims.query_ranges(words).unwrap().collect();
            assert_eq!(ranges[0].begin, 0);
            assert!(ranges.windows(2).all(|pair| pair[0].begin + pair[0].count == pair[1].begin));
            let last = ranges[ranges.len() - 1];
            assert_eq!(last.begin + last.count, 101);
            assert!(ranges.iter().all(|queries| queries.count > 0 && queries.count as u64 * one <= words));
        }
        assert_eq!(dims.query_ranges(101 * one).unwrap().count(), 1);
        assert_eq!(dims.query_ranges(100 * one).unwrap().count(), 2);
    }
}
