//! The boolean masks of a call: checked against its dimensions, laid out once, and packed into bits.

use crate::arguments::{check_binding, check_device};
use crate::gpu::{Gpu, Operand, Pass, Tensor, Workspace};
use crate::kernels::attention::masks::nonfinite_keys::{self, nonfinite_keys};
use crate::kernels::attention::masks::pack_mask::{pack_mask, words_per_row};
use crate::kernels::attention::visible::Visibility;
use crate::shapes::{Dims, attention_mask_shape, check_sequence_mask};
use crate::{DType, Error, Result};

/// The masks of a call, each of type bool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AttentionMasks<'a> {
    /// `[T,S]`, `[B,T,S]` or `[B,H,T,S]`; any axis may be 1
    pub(crate) attention_mask: Option<&'a Tensor>,
    /// `[B,T]`
    pub(crate) query_mask: Option<&'a Tensor>,
    /// `[B,S]`
    pub(crate) value_mask: Option<&'a Tensor>,
    /// `[B,S]`
    pub(crate) key_mask: Option<&'a Tensor>,
}

/// Layout of a call's masks in one buffer of bits: attention_mask, then query_mask, then the conjunction of value_mask and
/// key_mask, then, where needed, the bits of non-finite keys.
#[derive(Debug, Clone)]
pub(crate) struct MaskLayout<'a> {
    masks: AttentionMasks<'a>,
    /// The layout as the kernels' uniform block has it.
    pub(crate) visibility: Visibility,
    parts: Vec<Part<'a>>,
    /// Words of the masks; the words of non-finite keys follow them.
    words: usize,
}

/// A mask, or the conjunction of two: its rows, their length, and its first word.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    mask: &'a Tensor,
    second: Option<&'a Tensor>,
    sizes: [usize; 3],
}

impl<'a> MaskLayout<'a> {
    /// Checks types, devices and shapes, and adds the masks to a visibility by positions.
    pub(crate) fn new(
        operation: &'static str,
        gpu: &Gpu,
        masks: AttentionMasks<'a>,
        positions: Visibility,
        dims: &Dims,
    ) -> Result<Self> {
        let sequences = [
            ("query_mask", masks.query_mask, dims.query_len),
            ("value_mask", masks.value_mask, dims.key_len),
            ("key_mask", masks.key_mask, dims.key_len),
        ];
        let named = sequences.iter().map(|(name, mask, _)| (*name, *mask));
        for (name, mask) in named.chain([("attention_mask", masks.attention_mask)]) {
            let Some(mask) = mask else { continue };
            if mask.dtype() != DType::Bool {
                return Err(Error::argument(operation, name, "of type bool", mask.dtype().to_string()));
            }
            check_device(operation, gpu, name, mask)?;
        }
        let mut layout = Self { masks, visibility: positions, parts: Vec::new(), words: 0 };
        if let Some(mask) = masks.attention_mask {
            let [b, h, t, s] = attention_mask_shape(operation, mask.shape(), dims)?;
            let row = words_per_row(s);
            let stride = |length: usize, words: usize| if length == 1 { 0 } else { words as u32 };
            let strides = [stride(b, h * t * row), stride(h, t * row), stride(t, row), stride(s, 1)];
            layout.visibility = layout.visibility.with_attention_mask(strides);
            layout.push(mask, None, [b * h * t, s]);
        }
        for (name, mask, length) in sequences {
            if let Some(mask) = mask {
                check_sequence_mask(operation, name, mask.shape(), [dims.batch, length])?;
            }
        }
        if let Some(mask) = masks.query_mask {
            layout.visibility = layout.visibility.with_query_mask(layout.words as u32, dims);
            layout.push(mask, None, [dims.batch, dims.query_len]);
        }
        if let Some(mask) = masks.value_mask.or(masks.key_mask) {
            layout.visibility = layout.visibility.with_key_mask(layout.words as u32, dims);
            let second = masks.key_mask.filter(|_| masks.value_mask.is_some());
            layout.push(mask, second, [dims.batch, dims.key_len]);
        }
        check_binding(gpu, operation, "masks", (layout.words + nonfinite_keys::words(dims)) as u64)?;
        Ok(layout)
    }

    fn push(&mut self, mask: &'a Tensor, second: Option<&'a Tensor>, [rows, length]: [usize; 2]) {
        self.parts.push(Part { mask, second, sizes: [rows, length, self.words] });
        self.words += rows * words_per_row(length);
    }

    /// The visibility with the bits of non-finite keys.
    pub(crate) fn with_nonfinite_keys(self, dims: &Dims) -> Self {
        Self { visibility: self.visibility.with_nonfinite_keys(self.words, dims), ..self }
    }

    /// The visibility without the bits of non-finite keys.
    pub(crate) fn without_nonfinite_keys(&self) -> Self {
        Self { visibility: self.visibility.without_nonfinite_keys(), ..self.clone() }
    }

    /// Marks the masks as readable by commands that the caller submits.
    pub(crate) fn mark_shared(&self) {
        let AttentionMasks { attention_mask, query_mask, value_mask, key_mask } = self.masks;
        [attention_mask, query_mask, value_mask, key_mask]
            .into_iter()
            .flatten()
            .for_each(Tensor::mark_shared);
    }

    /// Records packing the masks, and finding the non-finite keys of v `[B,S,Hkv,D]` if the layout has bits for them.
    pub(crate) fn pack(&self, pass: &mut Pass<'_>, dims: &Dims, v: Operand<'_>) -> Result<Workspace> {
        let has_nonfinite = self.visibility.has_nonfinite_keys();
        let nonfinite_words = if has_nonfinite { nonfinite_keys::words(dims) } else { 0 };
        let bits = pass.workspace("mask_bits", (self.words + nonfinite_words) as u64);
        for &Part { mask, second, sizes } in &self.parts {
            pack_mask(pass, mask.range(), second.map(Tensor::range), bits.range(), sizes)?;
        }
        if has_nonfinite {
            nonfinite_keys(pass, dims, v, bits.range(), self.words)?;
        }
        Ok(bits)
    }
}
