/// `y[o,i] = Σ_l map(flat index, x[o,l,i])` for x `[outer,length,inner]`.
pub fn sums(x: &[f64], [outer, length, inner]: [usize; 3], map: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut y = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let at = |l: usize| (o * length + l) * inner + i;
            y.push((0..length).map(|l| map(at(l), x[at(l)])).sum());
        }
    }
    y
}
