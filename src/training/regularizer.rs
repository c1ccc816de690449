//! Penalties on weights and outputs, and their gradients, as Keras' regularizers have them.

use crate::arguments::{check_binding, check_words};
use crate::gpu::{BufferRange, Operand, Pass, Workspace};
use crate::kernels::elementwise::sums::{Map, Sums, sum, sums};
use crate::kernels::elementwise::transpose::transpose;
use crate::kernels::linear::{Linear, multiply};
use crate::kernels::training::l1_l2_backward::l1_l2_backward;
use crate::kernels::training::normalize::{Vectors, normalize};
use crate::kernels::training::normalize_backward::normalize_backward;
use crate::kernels::training::off_diagonal_sign::off_diagonal_sign;
use crate::{Error, OrthogonalMode, Regularizer, Result};

const OPERATION: &str = "regularizer";

/// What is penalized.
#[derive(Clone, Copy)]
pub(crate) struct Penalized<'a> {
    /// Its name, such as `query/kernel`, for errors.
    pub(crate) name: &'a str,
    /// f32
    pub(crate) x: BufferRange<'a>,
    pub(crate) shape: &'a [usize],
    /// How many leading axes are the rows of the matrix that it is, if it is one: 1 for kernels `[C,H,D]`, 2 for the kernel
    /// `[H,D,C]` of `attention_output`. `None`: only rank 2 is a matrix.
    pub(crate) row_axes: Option<usize>,
}

impl<'a> Penalized<'a> {
    /// A weight of the layer by its name (see [`weight_specs`](crate::weight_specs)).
    pub(crate) fn weight(name: &'a str, x: BufferRange<'a>, shape: &'a [usize]) -> Self {
        let row_axes = match (name, shape.len()) {
            ("attention_output/kernel", 3) => Some(2),
            (_, 3) => Some(1),
            _ => None,
        };
        Self { name, x, shape, row_axes }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows and columns.
    fn matrix(&self) -> Result<[usize; 2]> {
        let row_axes = match (self.shape.len(), self.row_axes) {
            (2, _) => 1,
            (3, Some(row_axes @ 1..=2)) => row_axes,
            _ => {
                let expected = "a matrix (rank 2, or a kernel), for an orthogonal regularizer";
                let got = format!("shape {:?}", self.shape);
                return Err(Error::argument(OPERATION, self.name, expected, got));
            }
        };
        let (rows, columns) = self.shape.split_at(row_axes);
        Ok([rows.iter().product(), columns.iter().product()])
    }
}

impl Regularizer {
    /// Fails, naming the factor, where one is negative, NaN or infinite, and for one that is not Keras' own.
    pub fn check(&self) -> Result<()> {
        let factors = match self {
            Regularizer::L1 { l1 } => vec![("l1", *l1)],
            Regularizer::L2 { l2 } => vec![("l2", *l2)],
            Regularizer::L1L2 { l1, l2 } => vec![("l1", *l1), ("l2", *l2)],
            Regularizer::Orthogonal { factor, .. } => vec![("factor", *factor)],
            Regularizer::Other { class_name, .. } => {
                let expected = "one of Keras' own: training refuses others";
                return Err(Error::argument(OPERATION, "regularizer", expected, class_name));
            }
        };
        // Written so that NaN fails.
        match factors.into_iter().find(|(_, factor)| !(*factor >= 0.0 && factor.is_finite())) {
            None => Ok(()),
            Some((name, factor)) => {
                Err(Error::argument(OPERATION, name, "finite and not negative", factor.to_string()))
            }
        }
    }

    /// Fails where training could not apply it to a tensor: see [`check`](Self::check); an orthogonal one needs a matrix.
    pub(crate) fn check_for(&self, penalized: &Penalized<'_>) -> Result<()> {
        self.check()?;
        match self {
            Regularizer::Orthogonal { .. } => penalized.matrix().map(drop),
            _ => Ok(()),
        }
    }

    /// The factors of Σ|x| and Σx².
    pub(crate) fn factors(&self) -> [f64; 2] {
        match *self {
            Regularizer::L1 { l1 } => [l1, 0.0],
            Regularizer::L2 { l2 } => [0.0, l2],
            Regularizer::L1L2 { l1, l2 } => [l1, l2],
            Regularizer::Orthogonal { .. } | Regularizer::Other { .. } => [0.0; 2],
        }
    }
}

/// Records loss `[1]` += factor · the penalty.
///
/// Orthogonal ones take the kernels of the layer as the matrices that they are, `[C, H·D]` and `[H·D, C]`, and a bias `[H,D]`
/// as it is (Keras refuses rank 3). The penalty of a single vector is 0 (in Keras NaN).
pub(crate) fn record_loss(
    pass: &mut Pass<'_>,
    regularizer: &Regularizer,
    penalized: &Penalized<'_>,
    factor: f32,
    loss: BufferRange<'_>,
) -> Result<()> {
    regularizer.check_for(penalized)?;
    if let Regularizer::Orthogonal { factor: own, mode } = *regularizer {
        let Some(vectors) = Orthogonal::record(pass, penalized, mode)? else { return Ok(()) };
        let factor = (own * vectors.share() * f64::from(factor)) as f32;
        let (size, p) = (vectors.vectors.count, vectors.p.range());
        return sum(pass, (p, Map::MagnitudeOffDiagonal(size)), size * size, factor, (loss, true));
    }
    for (own, map) in regularizer.factors().into_iter().zip([Map::Magnitude, Map::Square]) {
        if own != 0.0 {
            let factor = (own * f64::from(factor)) as f32;
            sum(pass, (penalized.x, map), penalized.count(), factor, (loss, true))?;
        }
    }
    Ok(())
}

/// Records gradient += factor · the gradient of the penalty for x; gradient is f32 in x's shape. |x| has the gradient 0
/// where x is 0.
pub(crate) fn record_gradient(
    pass: &mut Pass<'_>,
    regularizer: &Regularizer,
    penalized: &Penalized<'_>,
    factor: f32,
    gradient: BufferRange<'_>,
) -> Result<()> {
    regularizer.check_for(penalized)?;
    if let Regularizer::Orthogonal { factor: own, mode } = *regularizer {
        let Some(vectors) = Orthogonal::record(pass, penalized, mode)? else { return Ok(()) };
        let factor = (own * vectors.share() * f64::from(factor)) as f32;
        return vectors.record_gradient(pass, factor, gradient);
    }
    let factors = regularizer.factors().map(|own| (own * f64::from(factor)) as f32);
    l1_l2_backward(pass, factors, penalized.x, gradient, penalized.count())
}

/// loss = factor / 2 / pairs · Σ_{i≠j} |p[i,j]|, where p = n · nᵀ and the rows of n are x's rows, or columns, normalized.
struct Orthogonal {
    vectors: Vectors,
    /// `[vectors]`
    squares: Workspace,
    /// `[vectors,length]`
    n: Workspace,
    /// `[vectors,vectors]`
    p: Workspace,
}

impl Orthogonal {
    /// Records squares, n and p. `None` where there is a single vector.
    fn record(pass: &mut Pass<'_>, penalized: &Penalized<'_>, mode: OrthogonalMode) -> Result<Option<Self>> {
        let vectors = Vectors::of(penalized.matrix()?, mode == OrthogonalMode::Columns);
        let Vectors { count, length, .. } = vectors;
        if count < 2 {
            return Ok(None);
        }
        let gpu = pass.gpu();
        let products = count as u64 * count as u64;
        // Kernels count elements in u32.
        let words = if u32::try_from(products).is_ok() { products } else { u64::MAX };
        check_words(gpu, OPERATION, penalized.name, words)?;
        check_binding(gpu, OPERATION, penalized.name, penalized.count() as u64)?;
        let workspace = |label, words: usize| pass.workspace(label, words as u64);
        let squares = workspace("squares", count);
        let n = workspace("n", count * length);
        let transposed = workspace("n transposed", count * length); // [length,vectors]
        let p = workspace("p", count * count);

        let (map, shape) = (Map::Square, vectors.axes());
        let x = penalized.x;
        sums(pass, &Sums { x, other: None, shape, map, factor: 1.0, accumulate: false, y: squares.range() })?;
        normalize(pass, &vectors, x, squares.range(), n.range())?;
        transpose(pass, Operand::f32(n.range()), [count, length], transposed.range())?;
        multiply(pass, Linear::f32([count, length, count]), n.range(), transposed.range(), p.range(), false)?;
        Ok(Some(Self { vectors, squares, n, p }))
    }

    /// What the factor and Σ_{i≠j} |p[i,j]| are multiplied by.
    fn share(&self) -> f64 {
        let size = self.vectors.count as f64;
        0.5 / (size * (size - 1.0) / 2.0)
    }

    /// Records gradient += the gradient of factor · Σ_{i≠j} |p[i,j]|.
    fn record_gradient(&self, pass: &mut Pass<'_>, factor: f32, gradient: BufferRange<'_>) -> Result<()> {
        let Self { vectors, squares, n, p } = self;
        let Vectors { count, length, .. } = *vectors;
        let dn = pass.workspace("dn", (count * length) as u64); // [vectors,length]
        let dots = pass.workspace("dots", count as u64); // [vectors]

        // dn = (dp + dpᵀ) · n, and dp is symmetric as p is.
        off_diagonal_sign(pass, 2.0 * factor, p.range(), count)?;
        multiply(pass, Linear::f32([count, count, length]), p.range(), n.range(), dn.range(), false)?;
        let products = Sums {
            x: n.range(),
            other: Some(dn.range()),
            shape: [count, length, 1],
            map: Map::Product,
            factor: 1.0,
            accumulate: false,
            y: dots.range(),
        };
        sums(pass, &products)?;
        let (n, dn) = (n.range(), dn.range());
        normalize_backward(pass, vectors, [n, dn], [squares.range(), dots.range()], gradient)
    }
}
