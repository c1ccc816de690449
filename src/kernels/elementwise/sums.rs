//! `y = factor · Σ map(x)` over the middle axis of `[outer, length, inner]`: total sums, column sums, norms.

use crate::arguments::check_binding;
use crate::gpu::{Binding, BufferRange, Constant, Kernel, Parameters, Pass, Workspace};
use crate::kernels::params::{self, params};
use crate::shaders::source;
use crate::{Error, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "sums",
    source: source!("elementwise/sums"),
    generate: None,
    bindings: &[Binding::Uniform("params"), Binding::Read("x"), Binding::Read("other"), Binding::Write("y")],
    workgroup_size: 64,
    params: params::wgsl::<Params>,
};

/// The most terms that one invocation sums.
const TERMS: usize = 64;

params! {
    /// The parameters of a dispatch.
    struct Params {
        /// outer · segments · inner
        count: u32,
        length: u32,
        inner: u32,
        segments: u32,
        /// The offsets of x and y in their bound windows.
        x_base: u32,
        y_base: u32,
        /// For off-diagonal sums of a square matrix: its size + 1, and the flat index of the first element of x.
        diagonal: u32,
        first: u32,
        factor: f32,
    }
}

/// The term of each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    /// x
    Value,
    /// |x|
    Magnitude,
    /// x²
    Square,
    /// (x − other)²
    SquaredDifference,
    /// x · other
    Product,
    /// |x| of a square matrix of this size, 0 on its diagonal
    MagnitudeOffDiagonal(usize),
}

impl Map {
    fn number(self) -> u32 {
        match self {
            Map::Value => 0,
            Map::Magnitude => 1,
            Map::Square => 2,
            Map::SquaredDifference => 3,
            Map::Product => 4,
            Map::MagnitudeOffDiagonal(_) => 5,
        }
    }
}

/// The operands of sums.
#[derive(Clone, Copy)]
pub(crate) struct Sums<'a> {
    /// x `[outer,length,inner]` f32. With outer > 1 it must fit one binding.
    pub(crate) x: BufferRange<'a>,
    /// The other operand of the map, like x.
    pub(crate) other: Option<BufferRange<'a>>,
    /// outer, length, inner
    pub(crate) shape: [usize; 3],
    pub(crate) map: Map,
    pub(crate) factor: f32,
    /// Whether the sums are added to y.
    pub(crate) accumulate: bool,
    /// y `[outer,inner]` f32
    pub(crate) y: BufferRange<'a>,
}

fn constants(map: Map, accumulate: bool) -> [(&'static str, Constant); 2] {
    [("MAP", Constant::U32(map.number())), ("ACCUMULATE", Constant::Bool(accumulate))]
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<crate::kernels::Variant> {
    let maps = [Map::Value, Map::Magnitude, Map::Square, Map::SquaredDifference, Map::Product];
    let maps = maps.into_iter().chain([Map::MagnitudeOffDiagonal(1)]);
    maps.flat_map(|map| [false, true].map(|accumulate| constants(map, accumulate).to_vec())).collect()
}

/// Records the sum over x `[count]` f32, times `factor`, into the single number y; with `accumulate`, adds it to y.
pub(crate) fn sum(
    pass: &mut Pass<'_>,
    (x, map): (BufferRange<'_>, Map),
    count: usize,
    factor: f32,
    (y, accumulate): (BufferRange<'_>, bool),
) -> Result<()> {
    sums(pass, &Sums { x, other: None, shape: [1, count, 1], map, factor, accumulate, y })
}

/// Records the sums of the columns of dy `[M,N]` f32 into y `[N]`: the gradient of a bias.
pub(crate) fn column_sums(
    pass: &mut Pass<'_>,
    dy: BufferRange<'_>,
    [m, n]: [usize; 2],
    y: BufferRange<'_>,
) -> Result<()> {
    let (map, factor) = (Map::Value, 1.0);
    sums(pass, &Sums { x: dy, other: None, shape: [1, m, n], map, factor, accumulate: false, y })
}

/// Records the sums.
pub(crate) fn sums(pass: &mut Pass<'_>, operands: &Sums<'_>) -> Result<()> {
    let Sums { x, other, shape: [outer, length, inner], map, factor, accumulate, y } = *operands;
    let limits = pass.gpu().binding_limits();
    // Rows [inner] in windows that fit one binding each.
    let row_bytes = inner as u64 * 4;
    let ranges: Vec<_> = if outer == 1 {
        limits.ranges(length, &[row_bytes]).collect()
    } else {
        check_binding(pass.gpu(), KERNEL.name, "x", (outer * length) as u64 * inner as u64)?;
        vec![(0, length)]
    };
    let segments: usize = ranges.iter().map(|(_, rows)| rows.div_ceil(TERMS)).sum();
    if segments == length && length > 1 {
        let (bytes, limit) = (2 * row_bytes, limits.bytes);
        return Err(Error::TooLarge { operation: KERNEL.name, argument: "a row".into(), bytes, limit });
    }
    let last = segments == 1;
    let partial = (!last).then(|| pass.workspace("partial sums", (outer * segments * inner) as u64));
    let target = partial.as_ref().map_or(y, Workspace::range);
    let mut segment = 0;
    for (first, rows) in ranges {
        let part = rows.div_ceil(TERMS);
        let whole = first == 0 && rows == length;
        let window = |range, first: usize, rows: usize| {
            let (first, rows) = (first as u64 * row_bytes, rows as u64 * row_bytes);
            if whole { (range, 0) } else { limits.window(range, first, rows) }
        };
        let (x, x_shift) = window(x, first, rows);
        let other = other.map_or(x, |other| window(other, first, rows).0);
        let (target, y_shift) = window(target, segment, part);
        let diagonal = if let Map::MagnitudeOffDiagonal(size) = map { size as u32 + 1 } else { 0 };
        let count = outer * part * inner;
        let params = Params {
            count: count as u32,
            length: rows as u32,
            inner: inner as u32,
            segments: part as u32,
            x_base: (x_shift / 4) as u32,
            y_base: (y_shift / 4) as u32,
            diagonal,
            first: (first * inner) as u32,
            factor: if last { factor } else { 1.0 },
        };
        let constants = constants(map, last && accumulate);
        let workgroups = count.div_ceil(KERNEL.workgroup_size as usize) as u64;
        pass.dispatch(&KERNEL, &constants, Parameters::of(&params, false), &[x, other, target], workgroups)?;
        segment += part;
    }
    let Some(partial) = partial else { return Ok(()) };
    let (x, shape) = (partial.range(), [outer, segments, inner]);
    sums(pass, &Sums { x, other: None, shape, map: Map::Value, factor, accumulate, y })
}
