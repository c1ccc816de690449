//! `y = x · w + bias` (or `y +=` that), and with a gate `y = sigmoid(x · w + bias) ∘ multiplicand`.

use bytemuck::{Pod, Zeroable};

use super::linear_matrix::{self, Parts};
use super::{ELEMENTS, GRID, LOOP_LIMIT, PROJECTION, tile_ranges};
use crate::gpu::{
    Binding, Class, ClassShape, Constant, Constants, Gpu, Kernel, Parameters, Pass, Slot, Tuning, Units,
    element_constant, is_on, operand, result, size_class,
};
use crate::tuning::{self, Layout};
use crate::{DType, Error, Result};

pub(crate) static KERNEL: Kernel = Kernel {
    name: "linear",
    sources: &[GRID, ELEMENTS, PROJECTION, include_str!("../../shaders/linear.wgsl")],
    generate: Some(operands),
    bindings: BINDINGS,
    workgroup_size: 0,
    params_size: size_of::<Params>(),
};

/// Of the forms in matrix units too.
pub(super) const BINDINGS: &[Binding] = &[
    Binding::Uniform("params"),
    Binding::Read("x"),
    Binding::Read("w"),
    Binding::Read("bias"),
    Binding::Read("multiplicand"),
    Binding::Write("y"),
];

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    m: u32,
    k: u32,
    n: u32,
    k_begin: u32,
    k_end: u32,
    tiles_n: u32,
    tile_begin: u32,
    tile_end: u32,
    x_base: u32,
    y_base: u32,
    add: u32,
}

/// The operands of one linear projection.
pub(crate) struct Linear<'a> {
    /// x `[M,K]`
    pub(crate) x: (Slot<'a>, DType),
    /// w `[K,N]`
    pub(crate) w: Slot<'a>,
    /// bias `[N]`
    pub(crate) bias: Option<Slot<'a>>,
    /// The type of w and bias.
    pub(crate) w_type: DType,
    /// multiplicand `[M,N]` f32: makes this a gate.
    pub(crate) gated: Option<Slot<'a>>,
    /// y `[M,N]` f32
    pub(crate) y: Slot<'a>,
    /// Whether y is added to. Not with a gate.
    pub(crate) add: bool,
    /// M, K, N
    pub(crate) sizes: [usize; 3],
}

/// How the kernel is laid out over lanes and registers, or over matrix units.
pub(crate) type Form = tuning::Form<Lanes, Parts>;

/// Lanes in rows × in columns, and the rows and vectors of four columns that each owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lanes {
    row_lanes: u32,
    column_lanes: u32,
    rows: u32,
    quads: u32,
    staged: bool,
}

impl Lanes {
    const fn count(&self) -> u32 {
        self.row_lanes * self.column_lanes
    }

    /// Rows and columns of a workgroup.
    const fn tile(&self) -> [u32; 2] {
        [self.row_lanes * self.rows, self.column_lanes * self.quads * 4]
    }

    fn workgroup_bytes(&self) -> u32 {
        let [rows, columns] = self.tile();
        if self.staged { 16 * (rows * 5 + 4 * columns) } else { 0 }
    }
}

impl Form {
    const fn direct(name: &'static str, [row_lanes, column_lanes, rows, quads]: [u32; 4]) -> Self {
        Self { name, layout: Layout::Lanes(Lanes { row_lanes, column_lanes, rows, quads, staged: false }) }
    }

    const fn staged(name: &'static str, [row_lanes, column_lanes, rows, quads]: [u32; 4]) -> Self {
        Self { name, layout: Layout::Lanes(Lanes { row_lanes, column_lanes, rows, quads, staged: true }) }
    }

    const fn parts(name: &'static str, grid: [u32; 2], sizes: [u32; 2], step: u32) -> Self {
        Self { name, layout: Layout::Matrix(Parts { grid, sizes, step }) }
    }

    /// Rows and columns of a workgroup.
    const fn tile(&self) -> [u32; 2] {
        match &self.layout {
            Layout::Lanes(lanes) => lanes.tile(),
            Layout::Matrix(parts) => parts.tile(),
        }
    }

    /// Whether a device with these limits can run it, and with these matrix units, if it has any.
    pub(crate) fn fits(&self, units: Option<Units>, limits: &wgpu::Limits) -> bool {
        match &self.layout {
            Layout::Lanes(lanes) => {
                lanes.count() <= limits.max_compute_invocations_per_workgroup
                    && lanes.workgroup_bytes() <= limits.max_compute_workgroup_storage_size
            }
            Layout::Matrix(parts) => units.is_some_and(|units| parts.fits(units, limits)),
        }
    }
}

/// The forms to choose from, in the order in which they are tried: lanes in rows × in columns, and what each owns of them.
pub(crate) const FORMS: [Form; 10] = [
    // For adapters that are CPUs: a row of lanes is a vector of theirs, and multiply-adds per load decide.
    Form::direct("direct 1x8 lanes of 8x8", [1, 8, 8, 2]),
    Form::direct("direct 1x8 lanes of 12x8", [1, 8, 12, 2]),
    // For GPUs.
    Form::staged("staged 8x8 lanes of 8x8", [8, 8, 8, 2]),
    Form::staged("staged 16x16 lanes of 4x4", [16, 16, 4, 1]),
    Form::direct("direct 8x8 lanes of 4x4", [8, 8, 4, 1]),
    // For few rows.
    Form::direct("direct 1x8 lanes of 4x8", [1, 8, 4, 2]),
    Form::direct("direct 1x8 lanes of 1x8", [1, 8, 1, 2]),
    Form::direct("direct 1x32 lanes of 4x4", [1, 32, 4, 1]),
    Form::direct("direct 1x32 lanes of 1x4", [1, 32, 1, 1]),
    // For many rows on CPUs.
    Form::direct("direct 1x8 lanes of 16x8", [1, 8, 16, 2]),
];

/// The forms in matrix units, which round both operands to f16: parts in rows × in columns, and the size of each.
pub(crate) const MATRIX_FORMS: [Form; 3] = [
    Form::parts("matrix 2x2 parts of 32x32 by 32", [2, 2], [32, 32], 32),
    Form::parts("matrix 2x2 parts of 64x32 by 16", [2, 2], [64, 32], 16),
    Form::parts("matrix 1x4 parts of 16x32 by 32", [1, 4], [16, 32], 32),
];

/// All of them.
pub(crate) fn forms() -> impl Iterator<Item = Form> {
    FORMS.into_iter().chain(MATRIX_FORMS)
}

/// The form that is taken unmeasured.
pub(crate) fn default_form(cpu: bool, rows: usize) -> Form {
    match (cpu, rows) {
        (true, 1) => FORMS[6],
        (true, 2..=4) => FORMS[5],
        (true, 5..=8) => FORMS[0],
        (true, 9..=12) => FORMS[1],
        (true, _) => FORMS[9],
        (false, 1) => FORMS[8],
        (false, 2..=4) => FORMS[7],
        (false, 5..=64) => FORMS[4],
        (false, _) => FORMS[2],
    }
}

/// Whether a form is worth trying for so many rows: less than half of its tile is past the end, if another's is not.
pub(crate) fn suits(form: &Form, rows: usize) -> bool {
    let tile = form.tile()[0] as usize;
    rows >= tile.div_ceil(2) && (tile >= 8 || rows <= 2 * tile)
}

/// What a projection is, for the choice of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// M, K, N
    pub(crate) sizes: [usize; 3],
    pub(crate) x: DType,
    pub(crate) w: DType,
    pub(crate) bias: bool,
}

impl Shape {
    /// Bias and gate cost next to nothing, so they don't make a class.
    fn class(&self, gpu: &Gpu) -> Class {
        let [m, k, n] = self.sizes.map(size_class);
        let aligned = self.sizes[1].is_multiple_of(4) && self.sizes[2].is_multiple_of(4);
        let matrix = self.units(gpu).is_some();
        Class {
            kernel: KERNEL.name,
            shape: ClassShape {
                types: [self.x.name(), self.w.name(), ""],
                sizes: [("M", m), ("K", k), ("N", n), ("", 0), ("", 0)],
                flags: [
                    ("unaligned", !aligned),
                    ("matrix-units", matrix),
                    ("", false),
                    ("", false),
                    ("", false),
                ],
            },
        }
    }

    /// Whether the caller's numbers are f16, so that x may be rounded to it: weights are kept in the policy's type.
    fn is_half(&self) -> bool {
        self.w == DType::F16 && matches!(self.x, DType::F16 | DType::F32)
    }

    /// The matrix units that it may run on.
    fn units(&self, gpu: &Gpu) -> Option<Units> {
        if self.is_half() { gpu.tested_units() } else { None }
    }

    /// The form to take.
    pub(crate) fn form(&self, gpu: &Gpu) -> Form {
        let default = default_form(gpu.is_cpu(), self.sizes[0]);
        tuning::form(gpu, &self.class(gpu), self.fitting(gpu), default)
    }

    /// The forms that run on the device.
    fn fitting(&self, gpu: &Gpu) -> impl Iterator<Item = Form> {
        let units = self.units(gpu);
        forms().filter(move |form| form.fits(units, gpu.limits()))
    }

    /// Measures the candidates on scratch buffers, if that has not been done. Fewer rows stand for very many.
    pub(crate) async fn tune(&self, gpu: &Gpu) -> Result<()> {
        if self.is_half() && gpu.tuning() == Tuning::On {
            gpu.test_matrix_units().await?;
        }
        let class = self.class(gpu);
        if !tuning::is_due(gpu, &class) {
            return Ok(());
        }
        let [m, k, n] = self.sizes;
        let suiting = self.fitting(gpu).filter(|form| suits(form, m));
        let candidates = tuning::candidates(gpu, Some(default_form(gpu.is_cpu(), m)), suiting);
        if !tuning::is_open(gpu, &class, &candidates) {
            return Ok(());
        }
        let m = m.min((tuning::work(gpu) / (k * n) as u64).max(256) as usize);
        let words = [self.x.words(m * k), self.w.words(k * n), (m * n) as u64];
        let [x, w, y] = tuning::scratch(gpu, words).await?;
        tuning::tune(gpu, class, &candidates, |pass, form| {
            let (x, w, y) = ((x.slot(), self.x), w.slot(), y.slot());
            let bias = self.bias.then_some(w);
            linear(
                pass,
                &Linear { x, w, bias, w_type: self.w, gated: None, y, add: false, sizes: [m, k, n] },
                form,
            )
        })
        .await
    }
}

fn constants(
    lanes: Lanes,
    [x, w]: [DType; 2],
    [aligned, has_bias, gate]: [bool; 3],
) -> Vec<(&'static str, Constant)> {
    vec![
        ("ROW_LANES", Constant::U32(lanes.row_lanes)),
        ("COLUMN_LANES", Constant::U32(lanes.column_lanes)),
        ("WORKGROUP_SIZE", Constant::U32(lanes.count())),
        ("ROWS", Constant::U32(lanes.rows)),
        ("QUADS", Constant::U32(lanes.quads)),
        ("STAGED", Constant::Bool(lanes.staged)),
        ("ALIGNED", Constant::Bool(aligned)),
        ("X_TYPE", element_constant(x)),
        ("W_TYPE", element_constant(w)),
        ("HAS_BIAS", Constant::Bool(has_bias)),
        ("GATE", Constant::Bool(gate)),
    ]
}

/// WGSL of the operands, for the forms in matrix units too.
pub(super) fn operands(constants: &Constants) -> String {
    let aligned = is_on("ALIGNED", constants);
    [
        operand("x", 1, "X_TYPE", aligned, constants),
        operand("w", 2, "W_TYPE", aligned, constants),
        operand("bias", 3, "W_TYPE", aligned, constants),
        operand("multiplicand", 4, "F32", aligned, constants),
        result("y", 5, aligned),
    ]
    .concat()
}

#[cfg(test)]
pub(crate) fn variants() -> Vec<super::Variant> {
    let mut all = Vec::new();
    for (i, form) in FORMS.into_iter().enumerate() {
        let Layout::Lanes(lanes) = form.layout else { continue };
        for flags in 0..8usize {
            let (x, w) = (super::FLOATS[(i + flags) % 3], super::FLOATS[(i + flags / 3) % 3]);
            let on = |bit: usize| flags >> bit & 1 == 1;
            all.push(constants(lanes, [x, w], [on(0), on(1), on(2)]));
        }
    }
    all
}

/// Records the projection.
pub(crate) fn linear<'a>(pass: &mut Pass<'_>, operands: &Linear<'a>, form: Form) -> Result<()> {
    let Linear { x: (x, x_type), w, bias, w_type, gated, y, add, sizes: [m, k, n] } = *operands;
    let flags = [k.is_multiple_of(4) && n.is_multiple_of(4), bias.is_some(), gated.is_some()];
    let (kernel, constants) = match form.layout {
        Layout::Lanes(lanes) => (&KERNEL, constants(lanes, [x_type, w_type], flags)),
        Layout::Matrix(parts) => {
            let units = pass
                .gpu()
                .units()
                .ok_or_else(|| Error::argument(KERNEL.name, "form", "without matrix units", form.name))?;
            (&linear_matrix::KERNEL, linear_matrix::constants(parts, units, [x_type, w_type], flags))
        }
    };
    let [tile_rows, tile_columns] = form.tile();
    let bias = bias.unwrap_or(w);
    let limits = pass.gpu().binding_limits();
    // Rows of x and y that fit one binding each.
    let row_bytes = [(k * x_type.size()) as u64, (n * 4) as u64];
    for (first_row, rows) in limits.ranges(m, &row_bytes) {
        let rows_of = |slot: Slot<'a>, bytes: u64, element: u64| {
            let (slot, shift) = limits.window(slot, first_row as u64 * bytes, rows as u64 * bytes);
            (slot, (shift / element) as u32)
        };
        let (x, x_base) = rows_of(x, row_bytes[0], x_type.size() as u64);
        let (y, y_base) = rows_of(y, row_bytes[1], 4);
        // A binding that a variant does not read still needs a buffer.
        let multiplicand = gated.map_or(w, |gated| rows_of(gated, row_bytes[1], 4).0);
        let tiles_n = (n as u32).div_ceil(tile_columns);
        let tiles = u64::from((rows as u32).div_ceil(tile_rows)) * u64::from(tiles_n);
        for k_begin in (0..k).step_by(LOOP_LIMIT) {
            let k_end = (k_begin + LOOP_LIMIT).min(k);
            let work = u64::from(tile_rows * tile_columns) * (k_end - k_begin) as u64;
            for (tile_begin, tile_end) in tile_ranges(tiles, work) {
                let params = Params {
                    m: rows as u32,
                    k: k as u32,
                    n: n as u32,
                    k_begin: k_begin as u32,
                    k_end: k_end as u32,
                    tiles_n,
                    tile_begin,
                    tile_end,
                    x_base,
                    y_base,
                    add: u32::from(add),
                };
                let slots = [x, w, bias, multiplicand, y];
                let workgroups = u64::from(tile_end - tile_begin);
                pass.dispatch(kernel, &constants, Parameters::of(&params, false), &slots, workgroups)?;
            }
        }
    }
    Ok(())
}

/// Records y `[M,N]` = x `[M,K]` · w `[K,N]`, or that added to it, all f32, in the form that is chosen for it; `sizes` is M, K, N.
pub(crate) fn multiply(
    pass: &mut Pass<'_>,
    x: Slot<'_>,
    w: Slot<'_>,
    y: Slot<'_>,
    sizes: [usize; 3],
    add: bool,
) -> Result<()> {
    let form = Shape { sizes, x: DType::F32, w: DType::F32, bias: false }.form(pass.gpu());
    let (x, w_type) = ((x, DType::F32), DType::F32);
    linear(pass, &Linear { x, w, bias: None, w_type, gated: None, y, add, sizes }, form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_forms() {
        for form in FORMS {
            let Form { name, layout: Layout::Lanes(lanes) } = form else { panic!("{form:?}") };
            let Lanes { row_lanes, column_lanes, rows, quads, staged } = lanes;
            let memory = if staged { "staged" } else { "direct" };
            assert_eq!(name, format!("{memory} {row_lanes}x{column_lanes} lanes of {rows}x{}", 4 * quads));
        }
        for form in MATRIX_FORMS {
            let Parts { grid: [y, x], sizes: [rows, columns], step } = form.matrix().unwrap();
            assert_eq!(form.name, format!("matrix {y}x{x} parts of {rows}x{columns} by {step}"));
        }
    }

    #[test]
    fn every_form_fits_webgpus_least_limits_and_every_number_of_rows_has_forms_that_suit() {
        let least = wgpu::Limits::default();
        assert!(FORMS.iter().all(|form| form.fits(None, &least)));
        for units in super::super::UNITS {
            assert!(MATRIX_FORMS.iter().all(|form| form.fits(Some(units), &least)));
            assert!(MATRIX_FORMS.iter().all(|form| !form.fits(None, &least)));
        }
        for rows in (1..200).chain([1000, 100_000]) {
            for cpu in [true, false] {
                assert!(FORMS.contains(&default_form(cpu, rows)));
            }
            assert!(FORMS.iter().filter(|form| suits(form, rows)).count() >= 2, "{rows}");
        }
    }
}
