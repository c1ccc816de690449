//! What splits of keys left, combined, against the reference.

use super::support::*;
use crate::reference;
use crate::{DType, Dropout};
#[cfg(target_arch = "wasm32")]
use gqa_device_test::test;

#[test]
fn combine_splits_is_the_references() {
    use crate::kernels::attention::forward::combine_splits::combine_splits;
    let gpu = gpu();
    // What is kept is multiplied by 1.25.
    let dropout = Dropout { probability: 0.2, ..Dropout::default() };
    for splits in [1, 2, 7] {
        let [b, t, h, d] = [2, 3, 4, 37];
        let (dims, rows) = (dims([b, t, 9, h, 2, d]), b * t * h);
        // Row (b, h, t) of lse in the order (b, t, h) of out.
        let in_out = |row: usize| (row / (h * t) * t + row % t) * h + row / t % h;
        let mut parts = values(splits * rows * d, 1);
        let mut state = values(splits * rows * 2, 2);
        // Row 1 sees nothing in some parts, row 2 nothing at all.
        for (i, pair) in state.chunks_mut(2).enumerate() {
            let empty = i % rows == 2 || (i % rows == 1 && i / rows % 2 == 0 && splits > 1);
            pair.copy_from_slice(&if empty { [-1e38, 0.0] } else { [30.0 * pair[0], 2.0 + pair[1]] });
            if empty {
                let at = i / rows * rows + in_out(i % rows);
                parts[at * d..][..d].fill(0.0);
            }
        }
        let (parts, parts_ref) = tensor(&gpu, &[splits, b, t, h, d], parts, DType::F32);
        let (state, state_ref) = tensor(&gpu, &[splits, rows, 2], state, DType::F32);
        let (out, lse) = (poisoned(&gpu, &[b, t, h, d], DType::F32), poisoned(&gpu, &[b, h, t], DType::F32));
        let slots = [parts.range(), state.range(), out.range(), lse.range()];
        run(&gpu, |pass| combine_splits(pass, &plain(dims, Some(dropout)), splits as u32, slots));
        let mut expected = vec![0.0; rows * d];
        let mut expected_lse = Vec::new();
        for row in 0..rows {
            let at = in_out(row);
            let part = |i: usize| {
                let pair = &state_ref.data()[(i * rows + row) * 2..][..2];
                (pair[0], pair[1], parts_ref.data()[(i * rows + at) * d..][..d].to_vec())
            };
            let parts: Vec<_> = (0..splits).map(part).collect();
            let (mean, row_lse) = reference::combine_splits(&parts, f64::from(1.25f32));
            expected[at * d..][..d].copy_from_slice(&mean);
            expected_lse.push(row_lse);
        }
        check(&format!("merged out of {splits}"), &out, &expected, 1e-5);
        check(&format!("merged lse of {splits}"), &lse, &expected_lse, 1e-6);
    }
}
