//! Projections: `y = x · w + bias` (or `y += x · w + bias`), and with a gate `y = sigmoid(x · w + bias) ∘ multiplicand`.

mod dispatch;
pub(crate) mod forms;
mod interface;
pub(crate) mod lanes;
pub(crate) mod matrix;

#[cfg(feature = "training")]
use crate::gpu::BufferRange;
use crate::gpu::{Class, Gpu, MatrixConfig, Operand, Pass, Workspace};
use crate::tuning::{self, Tunable, buffers, work};
use crate::{DType, Error, Result};
pub(crate) use dispatch::linear;
pub(crate) use interface::{Form, Operands};

/// The problem of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    /// M, K, N
    pub(crate) sizes: [usize; 3],
    /// The type of x.
    pub(crate) x: DType,
    /// The type of w and bias.
    pub(crate) w: DType,
}

/// Scratch operands with fewer rows.
pub(crate) struct Scratch {
    rows: usize,
    /// x, w and y.
    buffers: [Workspace; 3],
}

impl Linear {
    /// A projection of f32.
    #[cfg(feature = "training")]
    pub(crate) fn f32(sizes: [usize; 3]) -> Self {
        Self { sizes, x: DType::F32, w: DType::F32 }
    }

    /// dx `[M,K]` = dy `[M,N]` · wᵀ `[N,K]`
    #[cfg(feature = "training")]
    pub(crate) fn gradient_of_x(&self) -> Self {
        let [m, k, n] = self.sizes;
        Self::f32([m, n, k])
    }

    /// dw `[K,N]` = xᵀ `[K,M]` · dy `[M,N]`
    #[cfg(feature = "training")]
    pub(crate) fn gradient_of_w(&self) -> Self {
        let [m, k, n] = self.sizes;
        Self::f32([k, m, n])
    }

    /// Whether the caller's data are f16, so that x may be rounded to it. Weights have the policy's type.
    pub(crate) fn may_use_matrices(&self) -> bool {
        self.w == DType::F16 && matches!(self.x, DType::F16 | DType::F32)
    }

    /// The cooperative matrices that the projection may use.
    fn matrix(&self, gpu: &Gpu) -> Option<MatrixConfig> {
        if self.may_use_matrices() { gpu.tested_matrix() } else { None }
    }

    /// Records the projection in its chosen form.
    pub(crate) fn encode(&self, pass: &mut Pass<'_>, operands: &Operands<'_>) -> Result<()> {
        let refuse = || Error::argument(lanes::KERNEL.name, "form", "one that fits this device", "another");
        let form = tuning::form(self, pass.gpu()).ok_or_else(refuse)?;
        linear(pass, self, operands, form)
    }
}

impl Tunable for Linear {
    type Form = Form;
    type Scratch = Scratch;

    fn forms() -> impl Iterator<Item = Form> {
        forms::FORMS.iter().copied()
    }

    /// Bias and gate cost next to nothing, so they are not part of the class.
    fn class(&self, gpu: &Gpu) -> Class {
        let [m, k, n] = self.sizes;
        Class::new(lanes::KERNEL.name)
            .of_type(self.x.name())
            .of_type(self.w.name())
            .size("M", m)
            .size("K", k)
            .size("N", n)
            .flag("unaligned", !(k.is_multiple_of(4) && n.is_multiple_of(4)))
            .flag("cooperative-matrix", self.matrix(gpu).is_some())
    }

    fn fits(&self, gpu: &Gpu, form: Form) -> bool {
        form.fits(&gpu.capabilities(self.matrix(gpu)))
    }

    fn suits(&self, gpu: &Gpu, form: Form) -> bool {
        form.layout.is_candidate_on(gpu.kind()) && form.suits(self.sizes[0])
    }

    fn default_form(&self, gpu: &Gpu) -> Option<Form> {
        forms::default_form(self.sizes[0], &gpu.capabilities(None))
    }

    /// Large problems are measured with fewer rows.
    async fn scratch(&self, gpu: &Gpu) -> Result<Scratch> {
        let [m, k, n] = self.sizes;
        let rows = m.min((work(gpu) / (k * n) as u64).max(256) as usize);
        let words = [self.x.words(rows * k), self.w.words(k * n), (rows * n) as u64];
        Ok(Scratch { rows, buffers: buffers(gpu, words).await? })
    }

    fn record(&self, pass: &mut Pass<'_>, scratch: &Scratch, form: Form) -> Result<()> {
        let [x, w, y] = scratch.buffers.each_ref().map(Workspace::range);
        let operands = Operands {
            x: Operand { range: x, dtype: self.x },
            w: Operand { range: w, dtype: self.w },
            bias: Some(w),
            multiplicand: None,
            y,
            add: false,
        };
        let [_, k, n] = self.sizes;
        linear(pass, &Self { sizes: [scratch.rows, k, n], ..*self }, &operands, form)
    }
}

/// Records y `[M,N]` = x `[M,K]` · w `[K,N]`, or adds to y, all f32, in the chosen form.
#[cfg(feature = "training")]
pub(crate) fn multiply(
    pass: &mut Pass<'_>,
    product: Linear,
    x: BufferRange<'_>,
    w: BufferRange<'_>,
    y: BufferRange<'_>,
    add: bool,
) -> Result<()> {
    let (x, w) = (Operand::f32(x), Operand::f32(w));
    product.encode(pass, &Operands { x, w, bias: None, multiplicand: None, y, add })
}
