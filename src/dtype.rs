//! Element types and Keras' dtype policies.

use std::fmt;

/// How the elements of a tensor are stored. Arithmetic is f32 whatever the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit float with the exponent range of f32.
    Bf16,
    /// A mask element: one byte, zero is false, anything else true.
    Bool,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::Bool => 1,
        }
    }

    /// 32-bit words that so many elements take.
    pub(crate) fn words(self, count: usize) -> u64 {
        (count as u64 * self.size() as u64).div_ceil(4)
    }

    /// Its short name, such as `f32`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::Bool => "bool",
        }
    }

    /// Whether the type holds numbers (and not mask elements).
    pub fn is_float(self) -> bool {
        self != DType::Bool
    }

    /// The nearest value (ties to even) that this type can store. A mask element is 0 or 1.
    pub fn round(self, x: f32) -> f32 {
        match self {
            DType::F32 => x,
            DType::F16 => half::f16::from_f32(x).to_f32(),
            DType::Bf16 => half::bf16::from_f32(x).to_f32(),
            DType::Bool => f32::from(x != 0.0),
        }
    }

    /// The largest max |error| / max |expected| at which a result in this type still counts as equal to the
    /// reference's.
    pub fn tolerance(self) -> f64 {
        match self {
            DType::F32 => 1e-5,
            DType::F16 => 4e-3,
            DType::Bf16 => 2e-2,
            DType::Bool => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Keras dtype policy: what the layer computes in, and what its variables are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DTypePolicy {
    /// Everything f32.
    #[default]
    Float32,
    /// Everything f16.
    Float16,
    /// Everything bf16.
    Bfloat16,
    /// Inputs, outputs and arithmetic as f16, variables f32.
    MixedFloat16,
    /// Inputs, outputs and arithmetic as bf16, variables f32.
    MixedBfloat16,
}

impl DTypePolicy {
    /// Every policy.
    pub const ALL: [DTypePolicy; 5] =
        [Self::Float32, Self::Float16, Self::Bfloat16, Self::MixedFloat16, Self::MixedBfloat16];

    /// The type that inputs are cast to and outputs have.
    pub fn compute_dtype(self) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::Float16 | Self::MixedFloat16 => DType::F16,
            Self::Bfloat16 | Self::MixedBfloat16 => DType::Bf16,
        }
    }

    /// The type that weights are kept in.
    pub fn variable_dtype(self) -> DType {
        match self {
            Self::Float32 | Self::MixedFloat16 | Self::MixedBfloat16 => DType::F32,
            Self::Float16 => DType::F16,
            Self::Bfloat16 => DType::Bf16,
        }
    }

    /// Keras' name of the policy, such as `mixed_float16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::MixedFloat16 => "mixed_float16",
            Self::MixedBfloat16 => "mixed_bfloat16",
        }
    }

    /// The policy of this Keras name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

impl fmt::Display for DTypePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
