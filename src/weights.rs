//! The weights of a layer on the host, and the names and shapes that they must have.

use std::convert::Infallible;

use crate::{Array, Config, Error, Result};

/// The weights of one layer, in Keras' own shapes; or their gradients, or anything else of which there is one for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights<A = Array> {
    /// Kernel `[C, H, D]`, bias `[H, D]`.
    pub query: Projection<A>,
    /// Kernel `[Ck, Hkv, D]`, bias `[Hkv, D]`.
    pub key: Projection<A>,
    /// Kernel `[Cv, Hkv, D]`, bias `[Hkv, D]`.
    pub value: Projection<A>,
    /// With `use_gate`: kernel `[C, H, D]`, bias `[H, D]`.
    pub gate: Option<Projection<A>>,
    /// Kernel `[H, D, C]`, bias `[C]`.
    pub attention_output: Projection<A>,
}

/// The kernel of one linear projection, and its bias with `use_bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection<A = Array> {
    /// The matrix, input axes first.
    pub kernel: A,
    /// What is added to each output row.
    pub bias: Option<A>,
}

/// The feature widths that a layer is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeatureWidths {
    /// C, the width of query and of the layer's output.
    pub query: usize,
    /// Ck, the width of key.
    pub key: usize,
    /// Cv, the width of value.
    pub value: usize,
}

impl FeatureWidths {
    /// The same width everywhere.
    pub fn all(width: usize) -> Self {
        Self { query: width, key: width, value: width }
    }
}

/// The name and shape of one weight, such as `query/kernel` `[C, H, D]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// The projection: `query`, `key`, `value`, `gate` or `attention_output`.
    pub projection: &'static str,
    /// `kernel` or `bias`.
    pub variable: &'static str,
    /// The shape that Keras gives it.
    pub shape: Vec<usize>,
}

impl WeightSpec {
    /// `projection/variable`, the name in safetensors files.
    pub fn name(&self) -> String {
        format!("{}/{}", self.projection, self.variable)
    }
}

/// Every weight of a layer with its shape, in the order query, key, value, gate, attention_output, kernel before bias.
pub fn weight_specs(config: &Config, widths: FeatureWidths) -> Vec<WeightSpec> {
    let (h, hkv, d) = (config.num_query_heads, config.num_key_value_heads, config.head_dim);
    let FeatureWidths { query: c, key: ck, value: cv } = widths;
    let mut specs = Vec::new();
    let mut push = |projection, kernel: [usize; 3], bias: &[usize]| {
        specs.push(WeightSpec { projection, variable: "kernel", shape: kernel.to_vec() });
        if config.use_bias {
            specs.push(WeightSpec { projection, variable: "bias", shape: bias.to_vec() });
        }
    };
    push("query", [c, h, d], &[h, d]);
    push("key", [ck, hkv, d], &[hkv, d]);
    push("value", [cv, hkv, d], &[hkv, d]);
    if config.use_gate {
        push("gate", [c, h, d], &[h, d]);
    }
    push("attention_output", [h, d, c], &[c]);
    specs
}

/// What has a shape: arrays and tensors.
pub trait Shaped {
    /// The length of each axis.
    fn shape(&self) -> &[usize];
}

impl<T> Shaped for Array<T> {
    fn shape(&self) -> &[usize] {
        self.shape()
    }
}

impl<A> Weights<A> {
    /// The projections with their names, in the order of [`weight_specs`].
    pub fn projections(&self) -> Vec<(&'static str, &Projection<A>)> {
        let mut all = vec![("query", &self.query), ("key", &self.key), ("value", &self.value)];
        all.extend(self.gate.as_ref().map(|gate| ("gate", gate)));
        all.push(("attention_output", &self.attention_output));
        all
    }

    /// The weights with their names, such as `query/kernel`, in the order of [`weight_specs`].
    pub fn named(&self) -> Vec<(String, &A)> {
        let mut all = Vec::new();
        for (name, projection) in self.projections() {
            all.push((format!("{name}/kernel"), &projection.kernel));
            all.extend(projection.bias.as_ref().map(|bias| (format!("{name}/bias"), bias)));
        }
        all
    }

    /// `f` of each, in the order of [`named`](Self::named).
    pub fn map<U>(&self, mut f: impl FnMut(&A) -> U) -> Weights<U> {
        let Ok(mapped) = self.try_map(|weight| Ok::<_, Infallible>(f(weight)));
        mapped
    }

    /// `f` of each, in the order of [`named`](Self::named), or its first error.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(&A) -> Result<U, E>) -> Result<Weights<U>, E> {
        let mut map = |p: &Projection<A>| p.try_map(&mut f);
        Ok(Weights {
            query: map(&self.query)?,
            key: map(&self.key)?,
            value: map(&self.value)?,
            gate: self.gate.as_ref().map(&mut map).transpose()?,
            attention_output: map(&self.attention_output)?,
        })
    }

    /// `f` of each, one after the other, in the order of [`named`](Self::named), or its first error.
    pub async fn try_map_async<U>(&self, mut f: impl AsyncFnMut(&A) -> Result<U>) -> Result<Weights<U>> {
        Ok(Weights {
            query: self.query.try_map_async(&mut f).await?,
            key: self.key.try_map_async(&mut f).await?,
            value: self.value.try_map_async(&mut f).await?,
            gate: match &self.gate {
                Some(gate) => Some(gate.try_map_async(&mut f).await?),
                None => None,
            },
            attention_output: self.attention_output.try_map_async(&mut f).await?,
        })
    }
}

impl<A> Projection<A> {
    fn try_map<U, E>(&self, mut f: impl FnMut(&A) -> Result<U, E>) -> Result<Projection<U>, E> {
        Ok(Projection { kernel: f(&self.kernel)?, bias: self.bias.as_ref().map(&mut f).transpose()? })
    }

    async fn try_map_async<U>(&self, f: &mut impl AsyncFnMut(&A) -> Result<U>) -> Result<Projection<U>> {
        Ok(Projection {
            kernel: f(&self.kernel).await?,
            bias: match &self.bias {
                Some(bias) => Some(f(bias).await?),
                None => None,
            },
        })
    }
}

impl<A: Shaped> Weights<A> {
    /// Assembles the weights of a layer by name; `take` gives the one of a name, if there is one.
    ///
    /// Fails where one is missing or its shape is not the one that `config` demands.
    pub fn from_named(
        operation: &'static str,
        config: &Config,
        mut take: impl FnMut(&str) -> Result<Option<A>>,
    ) -> Result<Self> {
        let mut projection = |name: &str| -> Result<Projection<A>> {
            let mut need = |variable: &str| {
                let name = format!("{name}/{variable}");
                take(&name)?.ok_or_else(|| Error::MissingTensor { operation, name, found: Vec::new() })
            };
            Ok(Projection {
                kernel: need("kernel")?,
                bias: if config.use_bias { Some(need("bias")?) } else { None },
            })
        };
        let weights = Self {
            query: projection("query")?,
            key: projection("key")?,
            value: projection("value")?,
            gate: if config.use_gate { Some(projection("gate")?) } else { None },
            attention_output: projection("attention_output")?,
        };
        weights.widths(operation, config)?;
        Ok(weights)
    }

    /// The feature widths these weights are for. Fails where a shape is not the one that `config` demands.
    pub fn widths(&self, operation: &'static str, config: &Config) -> Result<FeatureWidths> {
        let width = |projection: &Projection<A>| projection.kernel.shape().first().copied().unwrap_or(0);
        let widths =
            FeatureWidths { query: width(&self.query), key: width(&self.key), value: width(&self.value) };
        let (found, wanted) = (self.named(), weight_specs(config, widths));
        for spec in &wanted {
            let name = spec.name();
            match found.iter().find(|(found, _)| *found == name) {
                None => {
                    let found = found.iter().map(|(name, _)| name.clone()).collect();
                    return Err(Error::MissingTensor { operation, name, found });
                }
                Some((_, array)) if array.shape() != spec.shape || array.shape().contains(&0) => {
                    return Err(Error::argument(
                        operation,
                        name,
                        format!("of shape {:?} with no axis of length 0", spec.shape),
                        format!("{:?}", array.shape()),
                    ));
                }
                Some(_) => {}
            }
        }
        match found.iter().find(|(name, _)| wanted.iter().all(|spec| spec.name() != *name)) {
            Some((name, _)) => Err(Error::UnknownTensor {
                operation,
                name: name.clone(),
                known: wanted.iter().map(WeightSpec::name).collect(),
            }),
            None => Ok(widths),
        }
    }
}
