//! Buffers larger than one binding: bound in windows, a range of rows at a time.

use super::{BufferRange, Gpu};

/// Storage bindings beyond this size fail on Vulkan and DX12, whatever limit they report.
const LARGEST_BINDING: u64 = i32::MAX as u64;

/// Limits of a device's storage bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BindingLimits {
    /// The largest size of a binding, in bytes.
    pub(crate) bytes: u64,
    /// The alignment of a binding's offset, in bytes.
    pub(crate) alignment: u64,
}

impl Gpu {
    /// The limits of one binding on this device.
    pub(crate) fn binding_limits(&self) -> BindingLimits {
        let limits = self.limits();
        BindingLimits {
            bytes: self.window_bytes().unwrap_or(limits.max_storage_buffer_binding_size.min(LARGEST_BINDING))
                & !3,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment),
        }
    }
}

impl BindingLimits {
    /// Ranges `(first row, rows)` that cover `rows` rows, so that each range fits one binding in every buffer; `row_bytes` has
    /// each buffer's bytes per row. As few ranges as possible, of about equal length.
    pub(crate) fn ranges(
        self,
        rows: usize,
        row_bytes: &[u64],
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.ranges_of(1, rows, row_bytes)
    }

    /// The same, with each range beginning at a multiple of `multiple`. A range has at least `multiple` rows (the last may have
    /// fewer), even if these exceed a binding.
    pub(crate) fn ranges_of(
        self,
        multiple: usize,
        rows: usize,
        row_bytes: &[u64],
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        // A window begins at an aligned offset, up to one alignment before its first row.
        let room = self.bytes.saturating_sub(self.alignment);
        let fitting = row_bytes.iter().map(|&bytes| room / bytes.max(1)).min().unwrap_or(u64::MAX).max(1);
        let whole = row_bytes.iter().all(|&bytes| bytes * rows as u64 <= self.bytes);
        let parts = if whole { 1 } else { (rows as u64).div_ceil(fitting) };
        let even = usize::try_from((rows as u64).div_ceil(parts)).unwrap_or(usize::MAX);
        let most = usize::try_from(fitting).unwrap_or(usize::MAX) / multiple * multiple;
        let step = if whole { rows.max(1) } else { even.next_multiple_of(multiple).min(most).max(multiple) };
        (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
    }

    /// The part of a range with `bytes` bytes from byte `offset` on, extended down to an aligned offset, and the number of
    /// bytes added in front.
    pub(crate) fn window(self, range: BufferRange<'_>, offset: u64, bytes: u64) -> (BufferRange<'_>, u64) {
        let shift = offset % self.alignment;
        let begin = offset - shift;
        let bytes = (bytes + shift).next_multiple_of(4).min(range.bytes.saturating_sub(begin));
        (BufferRange { buffer: range.buffer, offset: range.offset + begin, bytes }, shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_row_once_and_fit() {
        for (bytes, alignment) in [(1 << 20, 256), (4096, 64), (1000, 4)] {
            let limits = BindingLimits { bytes, alignment };
            for rows in [1usize, 2, 7, 100, 999, 4096] {
                for row_bytes in [[4u64, 12], [100, 4], [64, 64], [2, 6]] {
                    let ranges: Vec<_> = limits.ranges(rows, &row_bytes).collect();
                    let mut next = 0;
                    for (first, count) in ranges.iter().copied() {
                        assert_eq!(first, next);
                        next += count;
                        for row in row_bytes {
                            let range = BufferRange { buffer: None, offset: 0, bytes: rows as u64 * row };
                            let (begin, length) = (first as u64 * row, count as u64 * row);
                            let (window, shift) = limits.window(range, begin, length);
                            assert_eq!(window.offset + shift, begin);
                            assert!(window.offset.is_multiple_of(alignment));
                            assert!(window.bytes <= bytes, "{rows} rows of {row} in {bytes}: {count}");
                            assert!(
                                window.bytes >= shift + length || window.bytes == range.bytes - window.offset
                            );
                        }
                    }
                    assert_eq!(next, rows);
                }
            }
        }
        let whole = BindingLimits { bytes: 1 << 20, alignment: 256 };
        let small = BindingLimits { bytes: 4096, alignment: 64 };
        assert!(small.ranges_of(32, 1000, &[40]).all(|(first, count)| first % 32 == 0 && count * 40 <= 4096));
        assert_eq!(whole.ranges(77, &[13]).collect::<Vec<_>>(), [(0, 77)]);
    }
}
