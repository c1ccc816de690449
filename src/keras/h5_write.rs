//! Writing `.weights.h5` files, and putting other values into those that exist.

use std::ops::Range;

use hdf5_pure::{
    AttrValue, Datatype, DatatypeByteOrder, FileBuilder, FinishedGroup, FloatingPointLayout, Layout,
};

use super::{
    H5,
    h5::{Element, H5Layer, H5Weights, PROJECTIONS, element_type, refuse_dataset},
};
use crate::elements::encoded;
use crate::error::clip;
use crate::{Array, Config, DType, Error, Projection, Result, Weights};

/// Where Keras keeps the weights of the only attention layer of a functional model.
pub(super) const FUNCTIONAL: &str = "layers/grouped_query_attention";

/// A `.weights.h5` file for a functional model that has this layer and no others with weights:
///
/// ```python
/// model = keras.Model([query, value], layer(query, value))
/// model.load_weights("new.weights.h5")
/// ```
///
/// It finds its layer by class and place, whatever the layer is called. Variables have the policy's variable type. For
/// a layer elsewhere see [`weights_to_h5_at`].
///
/// Fails where `weights` are not those of a layer of this configuration.
pub fn weights_to_h5(config: &Config, weights: &Weights) -> Result<Vec<u8>> {
    weights_to_h5_at(FUNCTIONAL, config, weights)
}

/// A `.weights.h5` file whose layer is at the path at which Keras looks for it:
///
/// | the layer is | path |
/// |---|---|
/// | the only one of a functional model | `layers/grouped_query_attention` |
/// | the second one of a functional model | `layers/grouped_query_attention_1` |
/// | `self.attention` of a model of one's own | `attention` |
/// | `self.attn` of the only `Block` of a functional model | `layers/block/attn` |
/// | no part of a model (`saving_lib.load_weights_only`) | the empty path |
///
/// A model that has other weights besides needs them in the same file; [`ModelFile::replace_weights`] keeps them.
///
/// [`ModelFile::replace_weights`]: super::ModelFile::replace_weights
pub fn weights_to_h5_at(path: &str, config: &Config, weights: &Weights) -> Result<Vec<u8>> {
    const WRITE: &str = "weights_to_h5_at";
    config.validate()?;
    weights.widths(WRITE, config)?;
    let segments: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    if segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
        let got = clip(path, 200);
        return Err(Error::argument(WRITE, "path", "names joined by `/`, or empty", got));
    }
    let mut file = FileBuilder::new();
    // From the inside out, since a group is finished before the one around it.
    let mut groups = layer_groups(&mut file, config, weights);
    for segment in segments.iter().rev() {
        let mut around = file.create_group(segment);
        groups.into_iter().for_each(|group| around.add_group(group));
        groups = vec![around.finish()];
    }
    groups.into_iter().for_each(|group| file.add_group(group));
    file.finish().map_err(|error| Error::file(H5, format!("can't be written: {error}")))
}

/// What Keras writes for a layer: a group for each projection, and the layer's own variables, of which it has none.
fn layer_groups(file: &mut FileBuilder, config: &Config, weights: &Weights) -> Vec<FinishedGroup> {
    let dtype = config.dtype.variable_dtype();
    let mut groups = vec![variables(file, &config.name, &[], dtype)];
    for (name, Projection { kernel, bias }) in weights.projections() {
        let Some((group, _)) = PROJECTIONS.into_iter().find(|(_, projection)| *projection == name) else {
            continue;
        };
        let arrays: Vec<&Array> = [kernel].into_iter().chain(bias).collect();
        let vars = variables(file, name, &arrays, dtype);
        let mut dense = file.create_group(group);
        dense.add_group(vars);
        groups.push(dense.finish());
    }
    groups
}

/// The group `vars` of an object of this name: its variables as datasets `0`, `1` and so on.
fn variables(file: &mut FileBuilder, name: &str, arrays: &[&Array], dtype: DType) -> FinishedGroup {
    let mut vars = file.create_group("vars");
    vars.set_attr("name", AttrValue::VarLenString(name.into()));
    for (index, array) in arrays.iter().enumerate() {
        let shape: Vec<u64> = array.shape().iter().map(|&n| n as u64).collect();
        let bytes = encoded(array.data(), dtype, false);
        let dataset = vars.create_dataset(&index.to_string());
        dataset.with_raw_data(datatype(dtype), bytes, array.data().len() as u64).with_shape(&shape);
        if dtype == DType::Bf16 {
            dataset.set_attr("dtype", AttrValue::VarLenString("bfloat16".into()));
        }
    }
    vars.finish()
}

/// The HDF5 type that Keras gives to a variable. HDF5 has no name for bfloat16: it is two opaque bytes.
fn datatype(dtype: DType) -> Datatype {
    const BINARY16: FloatingPointLayout = FloatingPointLayout {
        bit_offset: 0,
        bit_precision: 16,
        exponent_location: 10,
        exponent_size: 5,
        mantissa_location: 0,
        mantissa_size: 10,
        exponent_bias: 15,
    };
    let float =
        |size, layout| Datatype::FloatingPoint { size, byte_order: DatatypeByteOrder::LittleEndian, layout };
    match dtype {
        DType::F16 => float(2, BINARY16),
        DType::Bf16 => Datatype::Opaque { size: 2, tag: Vec::new() },
        _ => float(4, FloatingPointLayout::IEEE754_BINARY32),
    }
}

impl H5Weights {
    /// The file with other values in a layer's variables, each rounded to the type of its dataset; every other byte is
    /// the same. `weights` have the names and shapes that the file declares.
    ///
    /// Fails for datasets in chunks (which compressed ones are) and for those that share their bytes with others.
    pub(super) fn replaced(&self, layer: &H5Layer, weights: &Weights) -> Result<Vec<u8>> {
        let mut bytes = self.file.as_bytes().to_vec();
        let occupied = self.occupied();
        for (name, array) in weights.named() {
            let Some(info) = self.variable(layer, &name) else {
                let found = layer.weights.iter().map(|info| info.name.clone()).collect();
                return Err(Error::MissingTensor { operation: H5, name, found });
            };
            let path = &info.name;
            let dataset = self.file.dataset(path).map_err(|error| refuse_dataset(path, error))?;
            let element = element_type(&dataset).map_err(|error| refuse_dataset(path, error))?;
            let Element::Float(dtype, big_endian) = element else {
                let expected = "of dtype float32, float16 or bfloat16";
                return Err(Error::argument(H5, path, expected, element.to_string()));
            };
            let Some((_, range)) = occupied.iter().find(|(other, _)| *other == path) else {
                let message = "in chunks, compressed or empty, which can't be written in place; save the model with \
                               Keras again, which stores it plainly";
                return Err(Error::file(H5, format!("`{path}` is stored {message}")));
            };
            let overlaps = |other: &Range<usize>| other.start < range.end && range.start < other.end;
            if let Some((other, _)) = occupied.iter().find(|(other, at)| *other != path && overlaps(at)) {
                return Err(Error::file(H5, format!("`{path}` shares its bytes with `{other}`")));
            }
            let new = encoded(array.data(), dtype, big_endian);
            match bytes.get_mut(range.clone()) {
                Some(old) if old.len() == new.len() => old.copy_from_slice(&new),
                _ => return Err(Error::file(H5, format!("`{path}` has not the bytes of its shape"))),
            }
        }
        Ok(bytes)
    }

    /// The bytes of each dataset that is stored in one piece.
    fn occupied(&self) -> Vec<(&String, Range<usize>)> {
        let range = |path: &String| match self.file.dataset(path).ok()?.layout().ok()? {
            Layout::Contiguous { address: Some(start), size } => {
                let end = start.checked_add(size)?;
                Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
            }
            _ => None,
        };
        self.datasets.keys().filter_map(|path| Some((path, range(path)?))).collect()
    }
}
