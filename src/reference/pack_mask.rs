/// Rows of mask elements as rows of bits: element s of a row is bit s & 31 of its word s >> 5.
pub fn pack_mask(mask: &[bool], length: usize) -> Vec<u32> {
    let mut bits = Vec::new();
    for row in mask.chunks(length) {
        for word in row.chunks(32) {
            bits.push(word.iter().enumerate().map(|(i, &seen)| u32::from(seen) << i).sum());
        }
    }
    bits
}
