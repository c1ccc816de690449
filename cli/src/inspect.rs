//! `gqa inspect`.

use std::path::Path;

use anyhow::{Context as _, Result};
use gqa::keras::{FileKind, LayerEntry, ModelFile, TensorInfo};

use crate::{files, say};

pub(crate) fn print(path: &Path) -> Result<()> {
    let file = ModelFile::from_bytes(files::read(path)?).with_context(|| path.display().to_string())?;
    let kind = match file.kind() {
        FileKind::Archive => "Keras archive",
        FileKind::H5 => "Keras weights (HDF5)",
        FileKind::Safetensors => "safetensors",
        FileKind::Config => "Keras configuration (JSON)",
        _ => "file",
    };
    let version =
        file.keras_version().map(|version| format!(", written by Keras {version}")).unwrap_or_default();
    let count = match file.layers().len() {
        0 => "no attention layer".into(),
        1 => "1 attention layer".into(),
        count => format!("{count} attention layers"),
    };
    say!("{}: {kind}{version}; {count}", path.display());
    for layer in file.layers() {
        print_layer(layer);
    }
    if file.layers().is_empty() {
        print_tensors(&file.tensors(), "   ");
    }
    Ok(())
}

fn print_layer(layer: &LayerEntry) {
    say!("");
    say!("{}", layer.name());
    if let Some(path) = layer.path() {
        say!("   stored at  {path}");
    }
    match layer.config() {
        Ok(config) => {
            say!(
                "   heads      {} query heads over {} key/value heads of width {} ({} to one)",
                config.num_query_heads,
                config.num_key_value_heads,
                config.head_dim,
                config.group_size()
            );
            let window = config.sliding_window.map_or("none".into(), |window| window.to_string());
            say!(
                "   options    use_bias {}, use_gate {}, sliding_window {window}, dropout {}, seed {}",
                config.use_bias,
                config.use_gate,
                config.dropout,
                config.seed.map_or("none".into(), |seed| seed.to_string())
            );
            say!("   dtype      {}", config.dtype);
            say!("   config     {}", config.to_keras_json()["config"]);
        }
        Err(error) => say!("   config     {error}"),
    }
    if !layer.unknown_keys().is_empty() {
        say!("   ignored    unknown configuration keys: {}", layer.unknown_keys().join(", "));
    }
    if !layer.weights().is_empty() {
        say!("   weights");
        print_tensors(layer.weights(), "      ");
    }
}

fn print_tensors(tensors: &[TensorInfo], indent: &str) {
    let width = tensors.iter().map(|tensor| tensor.name.chars().count()).max().unwrap_or(0);
    for tensor in tensors {
        say!("{indent}{:width$}  {:<8} {:?}", tensor.name, tensor.dtype, tensor.shape);
    }
}
