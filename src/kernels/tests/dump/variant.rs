//! One variant of a kernel by name, form, width of heads and types.

use std::fmt::Write as _;

use crate::DType;
use crate::gpu::{AdapterKind, Binding, Capabilities, Constant, Kernel, MatrixConfig, element_constant};
use crate::kernels::attention::{backward, forward};
use crate::kernels::{Variant, all, forms, linear};
use crate::tuning::NamedForm;

/// The width of heads, unless another is wanted.
const HEAD_DIM: usize = 64;

/// Of workgroup memory, as on most GPUs of desktops.
const WORKGROUP_KIB: u32 = 48;

/// The cooperative matrices, unless others are wanted.
const MATRIX: MatrixConfig = MatrixConfig { size: 16, subgroup: 32, parts: 4 };

/// What is to be expanded. What is `None` or empty has a default.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) kernel: String,
    /// The name of a form, or a part that no other name has.
    pub(super) form: Option<String>,
    pub(super) head_dim: Option<usize>,
    /// One for each operand, or one for all.
    pub(super) types: Vec<DType>,
    pub(super) role: Option<backward::Role>,
    pub(super) matrix: MatrixConfig,
    /// Constants by name, in place of what they would be.
    pub(super) set: Vec<(String, String)>,
}

impl Default for Wanted {
    fn default() -> Self {
        let (kernel, types, set) = (String::new(), Vec::new(), Vec::new());
        Self { kernel, form: None, head_dim: None, types, role: None, matrix: MATRIX, set }
    }
}

/// One variant.
pub(super) struct Expanded {
    pub(super) kernel: &'static Kernel,
    pub(super) form: Option<&'static str>,
    pub(super) constants: Variant,
}

impl Expanded {
    /// The WGSL, below a line with the kinds of its bindings and one that says what it is.
    pub(super) fn text(&self) -> Result<String, String> {
        let mut text = String::from("// bindings ");
        text.extend(self.kernel.bindings.iter().map(|binding| match binding {
            Binding::Uniform(_) => 'u',
            Binding::Read(_) => 'r',
            Binding::Write(_) => 'w',
        }));
        let _ = write!(text, "\n// {}", self.kernel.name);
        if let Some(form) = self.form {
            let _ = write!(text, " in the form `{form}`");
        }
        for (i, (name, value)) in self.constants.iter().enumerate() {
            let _ = write!(text, "{} {name}={}", if i == 0 { ":" } else { "," }, value_of(*value));
        }
        text.push('\n');
        text.push_str(&self.kernel.wgsl(&self.constants).map_err(|error| error.to_string())?);
        Ok(text)
    }
}

fn value_of(constant: Constant) -> String {
    match constant {
        Constant::U32(value) => value.to_string(),
        Constant::Bool(value) => value.to_string(),
    }
}

/// Every kernel, by name. Those on cooperative matrices are forms of the one that they stand for.
pub(super) fn kernels() -> Vec<&'static str> {
    all().into_iter().map(|(kernel, _)| kernel.name).filter(|name| !name.ends_with("_matrix")).collect()
}

/// The names of the forms of a kernel.
pub(super) fn forms_of(kernel: &str) -> Vec<&'static str> {
    forms::forms().into_iter().filter(|(name, _)| *name == kernel).flat_map(|(_, forms)| forms).collect()
}

impl Wanted {
    pub(super) fn expand(&self) -> Result<Expanded, String> {
        let kernel = self.kernel.as_str();
        let (kernel, form, mut constants) = match kernel {
            "linear" => self.linear()?,
            "attention_forward" => self.forward()?,
            "attention_backward" => self.backward()?,
            _ => self.without_forms()?,
        };
        for (name, value) in &self.set {
            let known: Vec<_> = constants.iter().map(|(name, _)| *name).collect();
            let Some((_, constant)) = constants.iter_mut().find(|(known, _)| known == name) else {
                return Err(format!("{} has no constant {name}; it has {known:?}", kernel.name));
            };
            *constant = match (*constant, value.parse(), value.parse()) {
                (Constant::U32(_), Ok(value), _) => Constant::U32(value),
                (Constant::Bool(_), _, Ok(value)) => Constant::Bool(value),
                (Constant::U32(_), ..) => return Err(format!("{name}: expected a u32, got {value}")),
                (Constant::Bool(_), ..) => {
                    return Err(format!("{name}: expected true or false, got {value}"));
                }
            };
        }
        Ok(Expanded { kernel, form, constants })
    }

    fn linear(&self) -> Result<(&'static Kernel, Option<&'static str>, Variant), String> {
        self.refuse_head_dim()?;
        self.refuse_role()?;
        let form = self.form(&linear::forms::FORMS, |form| self.on_device(|device| form.fits(device)))?;
        // Projections on cooperative matrices take weights of f16.
        let default = if form.uses_matrices() { DType::F16 } else { DType::F32 };
        let (kernel, constants) = form.variant(self.types(["x", "w"], default)?, self.matrix);
        Ok((kernel, Some(form.name), constants))
    }

    fn forward(&self) -> Result<(&'static Kernel, Option<&'static str>, Variant), String> {
        self.refuse_role()?;
        let head_dim = self.head_dim.unwrap_or(HEAD_DIM);
        let fits =
            |form: &forward::Form| head_dim > 0 && self.on_device(|device| form.fits(head_dim, device));
        let form = self.form(&forward::forms::FORMS, fits)?;
        let types = self.types(["q", "k", "v"], DType::F32)?;
        let (kernel, constants) = form.variant(types, head_dim, self.matrix);
        Ok((kernel, Some(form.name), constants))
    }

    fn backward(&self) -> Result<(&'static Kernel, Option<&'static str>, Variant), String> {
        self.types([], DType::F32)?;
        let head_dim = self.head_dim.unwrap_or(HEAD_DIM);
        let role = self.role.unwrap_or(backward::Role::Queries);
        let fits = |form: &backward::Form| {
            head_dim > 0 && self.on_device(|device| form.fits(role, head_dim, device))
        };
        let form = self.form(&backward::forms::FORMS, fits)?;
        let (kernel, constants) = form.variant(role, head_dim);
        Ok((kernel, Some(form.name), constants))
    }

    /// The first variant, with the types and the width of heads that are wanted.
    fn without_forms(&self) -> Result<(&'static Kernel, Option<&'static str>, Variant), String> {
        let known = kernels();
        let found = all().into_iter().find(|(kernel, _)| kernel.name == self.kernel);
        let Some((kernel, variants)) = found.filter(|(kernel, _)| known.contains(&kernel.name)) else {
            return Err(format!("no kernel is called {}; there are {}", self.kernel, known.join(", ")));
        };
        self.refuse_role()?;
        if let Some(form) = &self.form {
            return Err(format!("{} has no forms to choose from, so none is called {form}", kernel.name));
        }
        let mut constants = variants.into_iter().next().unwrap_or_default();
        let is_type = |(name, _): &&mut (&str, Constant)| name.ends_with("_TYPE");
        let operands: Vec<_> = constants.iter_mut().filter(is_type).map(|(name, _)| *name).collect();
        let types = self.types_of(&operands, DType::F32)?;
        for ((_, constant), dtype) in constants.iter_mut().filter(is_type).zip(types) {
            *constant = element_constant(dtype);
        }
        match (self.head_dim, constants.iter().any(|(name, _)| *name == "HEAD_DIM")) {
            (Some(_), false) => self.refuse_head_dim()?,
            (Some(0), _) => return Err("heads have a width of at least 1".into()),
            (head_dim, true) => {
                let head_dim = head_dim.unwrap_or(HEAD_DIM);
                for (name, constant) in &mut constants {
                    match *name {
                        "HEAD_DIM" => *constant = Constant::U32(head_dim as u32),
                        "ALIGNED" => *constant = Constant::Bool(head_dim.is_multiple_of(4)),
                        _ => {}
                    }
                }
            }
            (None, false) => {}
        }
        Ok((kernel, None, constants))
    }

    /// The form that is wanted, or else the first that fits.
    fn form<F: NamedForm + Copy>(&self, forms: &'static [F], fits: impl Fn(&F) -> bool) -> Result<F, String> {
        let Some(wanted) = self.form.as_deref() else {
            let first = forms.iter().find(|form| fits(form)).copied();
            return first.ok_or_else(|| format!("no form of {} takes {}", self.kernel, self.sizes()));
        };
        let exact = forms.iter().find(|form| form.name() == wanted);
        let mut parts = forms.iter().filter(|form| form.name().contains(wanted));
        let Some(form) = exact.or_else(|| parts.next().filter(|_| parts.next().is_none())) else {
            let known: Vec<_> = forms.iter().map(NamedForm::name).collect();
            let known = known.join("\n    ");
            return Err(format!("{} has no one form called `{wanted}`; there are\n    {known}", self.kernel));
        };
        if fits(form) {
            return Ok(*form);
        }
        Err(format!("{} in the form `{}` does not take {}", self.kernel, form.name(), self.sizes()))
    }

    /// What a form has to fit.
    fn sizes(&self) -> String {
        let MatrixConfig { size, subgroup, .. } = self.matrix;
        let heads = match self.kernel.as_str() {
            "linear" => String::new(),
            _ => format!("heads of {}, with ", self.head_dim.unwrap_or(HEAD_DIM)),
        };
        format!(
            "{heads}{WORKGROUP_KIB} KiB of workgroup memory and matrices of {size}x{size} by {subgroup} lanes"
        )
    }

    fn on_device(&self, fits: impl FnOnce(&Capabilities<'_>) -> bool) -> bool {
        let limits = wgpu::Limits {
            max_compute_workgroup_storage_size: WORKGROUP_KIB << 10,
            max_compute_invocations_per_workgroup: 1024,
            ..wgpu::Limits::default()
        };
        fits(&Capabilities { kind: AdapterKind::Nvidia, limits: &limits, matrix: Some(self.matrix) })
    }

    fn types<const N: usize>(&self, operands: [&str; N], default: DType) -> Result<[DType; N], String> {
        let types = self.types_of(&operands, default)?;
        types.try_into().map_err(|types| format!("{types:?} are not {N} types"))
    }

    fn types_of(&self, operands: &[&str], default: DType) -> Result<Vec<DType>, String> {
        match (self.types.as_slice(), operands.len()) {
            ([], count) => Ok(vec![default; count]),
            (_, 0) => Err(format!("{} has no operands of a type to choose", self.kernel)),
            ([all], count) => Ok(vec![*all; count]),
            (each, count) if each.len() == count => Ok(each.to_vec()),
            (each, count) => Err(format!(
                "{} takes one type, or {count} for {}, not {}",
                self.kernel,
                operands.join(", "),
                each.len()
            )),
        }
    }

    fn refuse_head_dim(&self) -> Result<(), String> {
        match self.head_dim {
            Some(_) => Err(format!("{} is the same for heads of any width", self.kernel)),
            None => Ok(()),
        }
    }

    fn refuse_role(&self) -> Result<(), String> {
        match self.role {
            Some(_) => Err(format!("{} has no roles; attention_backward has", self.kernel)),
            None => Ok(()),
        }
    }
}
