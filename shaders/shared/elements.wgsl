// Element types. Float buffers are array<u32>: a word holds one f32, or two halves with the even element in the low bits.

const F32: u32 = 0u;
const F16: u32 = 1u;
const BF16: u32 = 2u;

/// The word that holds element `index`.
fn word_of(index: u32, dtype: u32) -> u32 {
    if (dtype == F32) {
        return index;
    }
    return index >> 1u;
}

/// Element `index`, given the word that holds it.
fn decode(word: u32, index: u32, dtype: u32) -> f32 {
    if (dtype == F32) {
        return bitcast<f32>(word);
    }
    if (dtype == F16) {
        let pair = unpack2x16float(word);
        return select(pair.x, pair.y, (index & 1u) == 1u);
    }
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (index & 1u) == 1u));
}
