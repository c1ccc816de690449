// Constants of f32.

// The bits of −inf. It is compared by bits and never computed with: drivers disagree about infinities.
const NEGATIVE_INFINITY: u32 = 0xff800000u;
// The initial running maximum of scores: below every score that matters, yet far enough from the limit of f32 that
// differences stay finite.
const LOWEST: f32 = -1.0e38;
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

fn largest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}
