//! The one error type of the crate.

/// An error of the library.
///
/// Every message names the operation or file, the argument, the expected and the actual value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, tensor, mask or configuration value that the operation does not accept.
    #[error("{operation}: `{argument}` must be {expected}, but got {got}")]
    Argument {
        /// The operation that failed.
        operation: &'static str,
        /// The offending argument.
        argument: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        got: String,
    },

    /// A tensor too large for the adapter to allocate or bind.
    #[error(
        "{operation}: `{argument}` needs {bytes} bytes, more than the {limit} bytes that this adapter allows"
    )]
    TooLarge {
        /// The operation that failed.
        operation: &'static str,
        /// The tensor.
        argument: String,
        /// The bytes it needs.
        bytes: u64,
        /// The bytes the adapter allows.
        limit: u64,
    },

    /// The machine has no adapter that wgpu can use.
    #[error(
        "no GPU adapter was found ({reason}); install a graphics driver, or a software one such as Mesa's \
         lavapipe (Debian and Ubuntu: `apt-get install mesa-vulkan-drivers libvulkan1`)"
    )]
    NoAdapter {
        /// The message from wgpu.
        reason: String,
    },

    /// No adapter matches the requested name or index.
    #[error("no adapter matches `{wanted}`; available: {}", list(.available))]
    AdapterNotFound {
        /// The requested name or index.
        wanted: String,
        /// The adapters that exist, each as `index: name (backend)`.
        available: Vec<String>,
    },

    /// The adapter gave no device, or the device lacks a limit or feature that the library needs.
    #[error("adapter `{adapter}` can't be used: {reason}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// The reason.
        reason: String,
    },

    /// The device was lost (driver reset, removal, destruction); every tensor on it is gone.
    #[error("the GPU device was lost: {reason}")]
    DeviceLost {
        /// The driver's message.
        reason: String,
    },

    /// The device ran out of memory.
    #[error("{operation}: the GPU is out of memory: {message}")]
    OutOfMemory {
        /// The operation that was running.
        operation: &'static str,
        /// The message from wgpu.
        message: String,
    },

    /// wgpu refused a command. This is a defect of the library or of a driver.
    #[error("{operation}: wgpu reported an error: {message}")]
    Gpu {
        /// The operation that was running.
        operation: &'static str,
        /// The message from wgpu.
        message: String,
    },

    /// A file, or bytes of one, that is malformed or not of the expected format.
    #[error("{format}: {message}")]
    File {
        /// The expected format, such as `Keras archive` or `safetensors`.
        format: &'static str,
        /// The defect.
        message: String,
    },

    /// The file has no attention layer of that name.
    #[error("no grouped-query attention layer `{wanted}`; the file has {}", list(.available))]
    LayerNotFound {
        /// The requested name.
        wanted: String,
        /// The attention layers in the file.
        available: Vec<String>,
    },

    /// The file has several attention layers that match.
    #[error("{} grouped-query attention layers {}; name one of them", .wanted.as_ref().map_or("the file has several".into(), |name| format!("`{name}` could be any of the")), list(.candidates))]
    AmbiguousLayer {
        /// The requested name, if any.
        wanted: Option<String>,
        /// The layers that match.
        candidates: Vec<String>,
    },

    /// A required tensor is missing.
    #[error("{operation}: tensor `{name}` is missing; found {}", list(.found))]
    MissingTensor {
        /// The operation or file that needs it.
        operation: &'static str,
        /// The name of the tensor.
        name: String,
        /// The names that exist.
        found: Vec<String>,
    },

    /// A tensor with an unknown name, most likely a typing error.
    #[error("{operation}: unknown tensor `{name}`; known names are {}", list(.known))]
    UnknownTensor {
        /// The operation or file that rejects it.
        operation: &'static str,
        /// The unknown name.
        name: String,
        /// The known names.
        known: Vec<String>,
    },
}

/// The result type of the crate.
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
