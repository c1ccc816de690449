//! Masks of a call: checked against its dimensions, packed to bits, and described to the kernels.

use bytemuck::{Pod, Zeroable};

use crate::attention::check_device;
use crate::gpu::{Gpu, Pass, Slot, Tensor, Workspace};
use crate::kernels::find_wild::{self, find_wild};
use crate::kernels::pack_mask::{pack_mask, words_per_row};
use crate::shapes::Dims;
use crate::{DType, Error, Result};

/// `shaders/shared/visible.wgsl`'s struct of the same name.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct Visibility {
    flags: u32,
    q_offset: u32,
    window: u32,
    mask_stride_b: u32,
    mask_stride_h: u32,
    mask_stride_t: u32,
    mask_stride_s: u32,
    query_mask_start: u32,
    query_mask_stride_b: u32,
    key_mask_start: u32,
    key_mask_stride_b: u32,
    wild_start: u32,
    wild_stride: u32,
    padding: [u32; 3],
}

const HAS_CAUSAL: u32 = 1;
const HAS_ATTENTION_MASK: u32 = 2;
const HAS_QUERY_MASK: u32 = 4;
const HAS_KEY_MASK: u32 = 8;

impl Visibility {
    pub(crate) fn is_causal(&self) -> bool {
        self.flags & HAS_CAUSAL != 0
    }

    pub(crate) fn has_window(&self) -> bool {
        self.window != 0
    }

    pub(crate) fn has_masks(&self) -> bool {
        self.flags & (HAS_ATTENTION_MASK | HAS_QUERY_MASK | HAS_KEY_MASK) != 0
    }

    /// Whether there may be a key that a query does not see.
    pub(crate) fn hides(&self) -> bool {
        self.is_causal() || self.has_window() || self.has_masks()
    }

    /// Causal and window alone.
    pub(crate) fn without_masks(&self) -> Self {
        Self { flags: self.flags & HAS_CAUSAL, ..*self }
    }

    /// Whether the bits of wild keys are there.
    pub(crate) fn has_wild_keys(&self) -> bool {
        self.wild_stride > 0
    }

    /// With the bits of wild keys from this word on.
    pub(crate) fn with_wild_keys(self, start: usize, dims: &Dims) -> Self {
        Self { wild_start: start as u32, wild_stride: words_per_row(dims.key_len) as u32, ..self }
    }
}

/// Everything that decides which key a query sees.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Masks<'a> {
    pub(crate) attention_mask: Option<&'a Tensor>,
    pub(crate) query_mask: Option<&'a Tensor>,
    pub(crate) value_mask: Option<&'a Tensor>,
    pub(crate) key_mask: Option<&'a Tensor>,
    pub(crate) causal: bool,
    pub(crate) q_offset: u32,
    pub(crate) sliding_window: Option<usize>,
}

/// The attention mask's shape as rank 4 `[B or 1, H or 1, T or 1, S or 1]`, if it broadcasts against these dimensions.
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

/// Fails unless the mask of a sequence has shape `[B, length]`.
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

impl Masks<'_> {
    /// Checks shapes and types.
    pub(crate) fn check(&self, operation: &'static str, gpu: &Gpu, dims: &Dims) -> Result<()> {
        let sequences = [
            ("query_mask", self.query_mask, dims.query_len),
            ("value_mask", self.value_mask, dims.key_len),
            ("key_mask", self.key_mask, dims.key_len),
        ];
        let named = sequences.iter().map(|(name, mask, _)| (*name, *mask));
        for (name, mask) in named.chain([("attention_mask", self.attention_mask)]) {
            let Some(mask) = mask else { continue };
            if mask.dtype() != DType::Bool {
                return Err(Error::argument(operation, name, "of type bool", mask.dtype().to_string()));
            }
            check_device(operation, gpu, name, mask)?;
        }
        if let Some(mask) = self.attention_mask {
            attention_mask_shape(operation, mask.shape(), dims)?;
        }
        for (name, mask, length) in sequences {
            if let Some(mask) = mask {
                check_sequence_mask(operation, name, mask.shape(), [dims.batch, length])?;
            }
        }
        let last_position = u64::from(self.q_offset) + dims.query_len as u64;
        if u32::try_from(last_position).is_err() {
            return Err(Error::argument(
                operation,
                "q_offset",
                "below 2^32 with T added",
                last_position.to_string(),
            ));
        }
        let words = self.layout(operation, dims)?.words + find_wild::words(dims) as u64;
        crate::kernels::check_binding(gpu, operation, "masks", words)?;
        if self.sliding_window == Some(0) {
            return Err(Error::argument(operation, "sliding_window", "None or a positive integer", "0"));
        }
        Ok(())
    }

    /// Where each mask lies in one buffer of bits: attention_mask, then query_mask, then the conjunction of value_mask and
    /// key_mask.
    fn layout(&self, operation: &'static str, dims: &Dims) -> Result<Layout<'_>> {
        let mut visibility = Visibility {
            q_offset: self.q_offset,
            // No two positions are further apart than u32 counts.
            window: self.sliding_window.map_or(0, |window| u32::try_from(window).unwrap_or(u32::MAX)),
            ..Visibility::default()
        };
        if self.causal {
            visibility.flags |= HAS_CAUSAL;
        }
        let mut parts = Vec::new();
        let mut words = 0;
        if let Some(mask) = self.attention_mask {
            let [b, h, t, s] = attention_mask_shape(operation, mask.shape(), dims)?;
            let row = words_per_row(s);
            let stride = |length: usize, words: usize| if length == 1 { 0 } else { words as u32 };
            visibility.flags |= HAS_ATTENTION_MASK;
            visibility.mask_stride_b = stride(b, h * t * row);
            visibility.mask_stride_h = stride(h, t * row);
            visibility.mask_stride_t = stride(t, row);
            visibility.mask_stride_s = stride(s, 1);
            parts.push(Part { mask, second: None, sizes: [b * h * t, s, words] });
            words += b * h * t * row;
        }
        if let Some(mask) = self.query_mask {
            visibility.flags |= HAS_QUERY_MASK;
            visibility.query_mask_start = words as u32;
            visibility.query_mask_stride_b = words_per_row(dims.query_len) as u32;
            parts.push(Part { mask, second: None, sizes: [dims.batch, dims.query_len, words] });
            words += dims.batch * words_per_row(dims.query_len);
        }
        if let Some(mask) = self.value_mask.or(self.key_mask) {
            visibility.flags |= HAS_KEY_MASK;
            visibility.key_mask_start = words as u32;
            visibility.key_mask_stride_b = words_per_row(dims.key_len) as u32;
            let second = self.key_mask.filter(|_| self.value_mask.is_some());
            parts.push(Part { mask, second, sizes: [dims.batch, dims.key_len, words] });
            words += dims.batch * words_per_row(dims.key_len);
        }
        Ok(Layout { visibility, parts, words: words as u64 })
    }

    /// Notes that commands which the caller submits may read the masks.
    pub(crate) fn lend(&self) {
        let masks = [self.attention_mask, self.query_mask, self.value_mask, self.key_mask];
        masks.into_iter().flatten().for_each(Tensor::lend);
    }

    /// What the kernels are told of these masks, but for the bits of wild keys.
    pub(crate) fn visibility(&self, operation: &'static str, dims: &Dims) -> Result<Visibility> {
        Ok(self.layout(operation, dims)?.visibility)
    }

    /// Records the packing of the masks, which [`check`](Self::check) has passed, into one buffer of bits. The bits of the wild
    /// keys of v `[B,S,Hkv,D]` follow, if it is given and a key may be hidden or `dropped`.
    pub(crate) fn pack(
        &self,
        operation: &'static str,
        pass: &mut Pass<'_>,
        dims: &Dims,
        v: Option<(Slot<'_>, DType)>,
        dropped: bool,
    ) -> Result<(Visibility, Workspace)> {
        let Layout { mut visibility, parts, words } = self.layout(operation, dims)?;
        // Values of keys that are not seen may be anything.
        let v = v.filter(|_| dropped || visibility.hides());
        let wild_words = if v.is_some() { find_wild::words(dims) as u64 } else { 0 };
        let bits = pass.workspace("mask_bits", words + wild_words);
        for Part { mask, second, sizes } in parts {
            pack_mask(pass, mask.slot(), second.map(Tensor::slot), bits.slot(), sizes)?;
        }
        if let Some(v) = v {
            visibility = visibility.with_wild_keys(words as usize, dims);
            find_wild(pass, dims, v, bits.slot(), words as usize)?;
        }
        Ok((visibility, bits))
    }
}

/// The masks of a call as bits in one buffer.
struct Layout<'a> {
    visibility: Visibility,
    parts: Vec<Part<'a>>,
    words: u64,
}

/// A mask, or the conjunction of two, with its rows, their length, and the word that it begins at.
struct Part<'a> {
    mask: &'a Tensor,
    second: Option<&'a Tensor>,
    sizes: [usize; 3],
}
