//! The one error type of the crate.

/// What went wrong, in words a caller can act on.
///
/// Every message names the operation or file, the argument, what was expected and what came.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, tensor, mask or configuration value that the operation can't work with.
    #[error("{operation}: `{argument}` must be {expected}, but got {got}")]
    Argument {
        /// The operation that refused.
        operation: &'static str,
        /// The argument that is wrong.
        argument: String,
        /// What would have been right.
        expected: String,
        /// What came.
        got: String,
    },

    /// A tensor that the adapter can't hold or bind.
    #[error(
        "{operation}: `{argument}` needs {bytes} bytes, more than the {limit} bytes that this adapter allows"
    )]
    TooLarge {
        /// The operation that refused.
        operation: &'static str,
        /// The tensor that is too large.
        argument: String,
        /// How many bytes it needs.
        bytes: u64,
        /// How many the adapter allows.
        limit: u64,
    },

    /// The machine has no adapter that wgpu can use.
    #[error(
        "no GPU adapter was found ({reason}); install a graphics driver, or a software one such as Mesa's \
         lavapipe (Debian and Ubuntu: `apt-get install mesa-vulkan-drivers libvulkan1`)"
    )]
    NoAdapter {
        /// What wgpu said.
        reason: String,
    },

    /// No adapter matches the name or index that was asked for.
    #[error("no adapter matches `{wanted}`; available: {}", list(.available))]
    AdapterNotFound {
        /// What was asked for.
        wanted: String,
        /// The adapters that exist, each as `index: name (backend)`.
        available: Vec<String>,
    },

    /// The adapter refused to give a device, or the device lacks what the library needs.
    #[error("adapter `{adapter}` can't be used: {reason}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// Why not.
        reason: String,
    },

    /// The device was lost (driver reset, removal, destruction); every tensor on it is gone.
    #[error("the GPU device was lost: {reason}")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },

    /// The device ran out of memory.
    #[error("{operation}: the GPU is out of memory: {message}")]
    OutOfMemory {
        /// The operation during which it happened.
        operation: &'static str,
        /// What wgpu said.
        message: String,
    },

    /// wgpu refused a command. This is a defect of the library or of a driver.
    #[error("{operation}: wgpu reported an error: {message}")]
    Gpu {
        /// The operation during which it happened.
        operation: &'static str,
        /// What wgpu said.
        message: String,
    },

    /// A file (or bytes that should be one) that can't be read as what it should be.
    #[error("{format}: {message}")]
    File {
        /// The format that was expected, such as `Keras archive` or `safetensors`.
        format: &'static str,
        /// What is wrong with it.
        message: String,
    },

    /// No attention layer of that name is in the file.
    #[error("no grouped-query attention layer `{wanted}`; the file has {}", list(.available))]
    LayerNotFound {
        /// The name that was asked for.
        wanted: String,
        /// The attention layers that the file has.
        available: Vec<String>,
    },

    /// The file has several attention layers, and it isn't clear which one is meant.
    #[error("{} grouped-query attention layers {}; name one of them", .wanted.as_ref().map_or("the file has several".into(), |name| format!("`{name}` could be any of the")), list(.candidates))]
    AmbiguousLayer {
        /// The name that was asked for, if any.
        wanted: Option<String>,
        /// The layers that it could mean.
        candidates: Vec<String>,
    },

    /// A tensor that is needed is not there.
    #[error("{operation}: tensor `{name}` is missing; found {}", list(.found))]
    MissingTensor {
        /// The operation or file that needs it.
        operation: &'static str,
        /// The name that was looked for.
        name: String,
        /// The names that are there.
        found: Vec<String>,
    },

    /// A tensor whose name means nothing here, most likely a typing error.
    #[error("{operation}: unknown tensor `{name}`; known names are {}", list(.known))]
    UnknownTensor {
        /// The operation or file that refused.
        operation: &'static str,
        /// The unknown name.
        name: String,
        /// The names that are known.
        known: Vec<String>,
    },
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn argument(
        operation: &'static str,
        argument: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Error::Argument { operation, argument: argument.into(), expected: expected.into(), got: got.into() }
    }

    #[cfg(feature = "keras")]
    pub(crate) fn file(format: &'static str, message: impl Into<String>) -> Self {
        Error::File { format, message: message.into() }
    }
}

/// `a`, `b` and `c`, or "nothing".
fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => format!("`{one}`"),
        [init @ .., last] => {
            let init: Vec<_> = init.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", init.join(", "))
        }
    }
}

/// At most `longest` characters of a text from outside, for a message.
#[cfg(feature = "keras")]
pub(crate) fn clip(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
