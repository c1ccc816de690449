//! The visibility rule, as a uniform block.

use super::masks::pack_mask::words_per_row;
use crate::kernels::params::params;
use crate::shapes::Dims;

params! {
    /// The visibility rule: `shaders/attention/visible.wgsl` computes it. The default lets every query see every key.
    pub(crate) struct Visibility {
        flags: u32,
        /// Position of query 0 among the keys.
        q_offset: u32,
        /// 0: no window.
        window: u32,
        /// attention_mask: words to the next b, h and t, bits to the next s; 0 where the axis is broadcast.
        mask_stride_b: u32,
        mask_stride_h: u32,
        mask_stride_t: u32,
        mask_stride_s: u32,
        /// query_mask and the merged key masks: first word, words to the next b.
        query_mask_start: u32,
        query_mask_stride_b: u32,
        key_mask_start: u32,
        key_mask_stride_b: u32,
        /// Bits of non-finite keys: first word, words to the next key/value head. Stride 0: none.
        nonfinite_start: u32,
        nonfinite_stride: u32,
        ; padding 3
    }
}

const HAS_CAUSAL: u32 = 1;
const HAS_ATTENTION_MASK: u32 = 2;
const HAS_QUERY_MASK: u32 = 4;
const HAS_KEY_MASK: u32 = 8;

impl Visibility {
    /// Visibility by positions: causal, and a window (0: none).
    pub(crate) fn of_positions(causal: bool, q_offset: u32, window: u32) -> Self {
        Self { flags: if causal { HAS_CAUSAL } else { 0 }, q_offset, window, ..Self::default() }
    }

    /// Adds an attention mask whose packed rows begin at word 0: words to the next b, h and t, bits to the next s.
    pub(crate) fn with_attention_mask(self, [b, h, t, s]: [u32; 4]) -> Self {
        Self {
            flags: self.flags | HAS_ATTENTION_MASK,
            mask_stride_b: b,
            mask_stride_h: h,
            mask_stride_t: t,
            mask_stride_s: s,
            ..self
        }
    }

    /// Adds a query mask whose packed rows begin at word `start`.
    pub(crate) fn with_query_mask(self, start: u32, dims: &Dims) -> Self {
        Self {
            flags: self.flags | HAS_QUERY_MASK,
            query_mask_start: start,
            query_mask_stride_b: words_per_row(dims.query_len) as u32,
            ..self
        }
    }

    /// Adds a key mask whose packed rows begin at word `start`.
    pub(crate) fn with_key_mask(self, start: u32, dims: &Dims) -> Self {
        Self {
            flags: self.flags | HAS_KEY_MASK,
            key_mask_start: start,
            key_mask_stride_b: words_per_row(dims.key_len) as u32,
            ..self
        }
    }

    /// Adds the bits of non-finite keys from word `start` on.
    pub(crate) fn with_nonfinite_keys(self, start: usize, dims: &Dims) -> Self {
        let stride = words_per_row(dims.key_len) as u32;
        Self { nonfinite_start: start as u32, nonfinite_stride: stride, ..self }
    }

    /// Removes the bits of non-finite keys.
    pub(crate) fn without_nonfinite_keys(self) -> Self {
        Self { nonfinite_start: 0, nonfinite_stride: 0, ..self }
    }

    pub(crate) fn is_causal(&self) -> bool {
        self.flags & HAS_CAUSAL != 0
    }

    pub(crate) fn has_window(&self) -> bool {
        self.window != 0
    }

    pub(crate) fn has_masks(&self) -> bool {
        self.flags & (HAS_ATTENTION_MASK | HAS_QUERY_MASK | HAS_KEY_MASK) != 0
    }

    /// Whether some key may be hidden from some query.
    pub(crate) fn hides(&self) -> bool {
        self.is_causal() || self.has_window() || self.has_masks()
    }

    /// The rules by position, without masks.
    pub(crate) fn without_masks(&self) -> Self {
        Self { flags: self.flags & HAS_CAUSAL, ..*self }
    }

    /// Whether the buffer of mask bits has a bit per key that marks non-finite values.
    pub(crate) fn has_nonfinite_keys(&self) -> bool {
        self.nonfinite_stride > 0
    }
}
