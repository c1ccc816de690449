//! Cases of a projection for the tests of its forms: operands and what the reference makes of them.

use super::support::*;
use crate::kernels::linear::{Form, Linear, Operands, linear};
use crate::reference;
use crate::{Array, DType, Gpu, Tensor};

/// What is compiled into a projection, beside its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// The type of x, and that of w and bias.
    pub(super) types: [DType; 2],
    pub(super) bias: bool,
    pub(super) gate: bool,
    /// Whether rows are whole vectors.
    pub(super) aligned: bool,
}

impl Kind {
    /// Every kind with these types.
    pub(super) fn all(types: &[[DType; 2]]) -> Vec<Self> {
        let flags = (0..8).map(|bits| [bits & 1 == 1, bits & 2 == 2, bits & 4 == 4]);
        let of = |[bias, gate, aligned]: [bool; 3]| {
            types.iter().map(move |&types| Self { types, bias, gate, aligned })
        };
        flags.flat_map(of).collect()
    }

    /// What it is a case of, run in this form.
    pub(super) fn traits(&self, form: &str, extent: Extent) -> Vec<String> {
        let Self { types: [x, w], bias, gate, aligned } = *self;
        let kind = form.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
        let mut all = vec![
            format!("{kind}, bias {bias}"),
            format!("{kind}, gate {gate}"),
            format!("{kind}, aligned {aligned}"),
            format!("x {x} w {w}, aligned {aligned}"),
        ];
        if extent >= Extent::Sample {
            all.extend([form.into(), format!("bias {bias} gate {gate}, aligned {aligned}")]);
        }
        if extent == Extent::Whole {
            all.extend([
                format!("{form}, x {x} w {w}"),
                format!("{form}, bias {bias} gate {gate}"),
                format!("{form}, aligned {aligned}"),
                format!("x {x} w {w} bias {bias} gate {gate}, aligned {aligned}"),
            ]);
        }
        all
    }

    /// Whether a size is of this kind.
    pub(super) fn is_of(&self, [_, k, n]: [usize; 3]) -> bool {
        self.aligned == (k % 4 == 0 && n % 4 == 0)
    }
}

/// An operand, and what the reference sees of it.
type Operand = (Tensor, Array<f64>);

/// Made-up operands of one size.
pub(super) struct LinearCase {
    kind: Kind,
    sizes: [usize; 3],
    x: Operand,
    w: Operand,
    bias: Operand,
    gated: Operand,
    y: Tensor,
}

impl LinearCase {
    pub(super) fn new(gpu: &Gpu, kind: Kind, [m, k, n]: [usize; 3]) -> Self {
        let [x_type, w_type] = kind.types;
        Self {
            kind,
            sizes: [m, k, n],
            x: tensor(gpu, &[m, k], values(m * k, 1), x_type),
            w: tensor(gpu, &[k, n], values(k * n, 2), w_type),
            bias: tensor(gpu, &[n], values(n, 3), w_type),
            gated: tensor(gpu, &[m, n], values(m * n, 4), DType::F32),
            y: poisoned(gpu, &[m, n], DType::F32),
        }
    }

    /// What the reference makes of it, with x as a kernel that computes in `seen_as` sees it.
    pub(super) fn expected(&self, seen_as: DType) -> Vec<f64> {
        let (x, w) = (reference::cast(&self.x.1, seen_as), self.w.1.data());
        let bias = self.kind.bias.then(|| self.bias.1.data());
        if self.kind.gate {
            reference::gated_linear(x.data(), w, bias, self.gated.1.data(), self.sizes)
        } else {
            reference::linear(x.data(), w, bias, self.sizes)
        }
    }

    /// Runs a form over a poisoned output, or adds to what that holds.
    pub(super) fn run(&self, gpu: &Gpu, form: Form, add: bool) -> &Tensor {
        if !add {
            poison(&self.y);
        }
        let [x, w] = self.kind.types;
        let problem = Linear { sizes: self.sizes, x, w };
        let operands = Operands {
            x: self.x.0.operand(),
            w: self.w.0.operand(),
            bias: self.kind.bias.then(|| self.bias.0.range()),
            multiplicand: self.kind.gate.then(|| self.gated.0.range()),
            y: self.y.range(),
            add,
        };
        run(gpu, |pass| linear(pass, &problem, &operands, form));
        &self.y
    }
}
