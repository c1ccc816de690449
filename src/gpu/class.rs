//! The class of shapes for which one form of a kernel is chosen.

use std::fmt;

/// A kernel and the types, sizes and flags that identify the class, as text for people and for the file of choices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub(crate) kernel: &'static str,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Name(&'static str),
    Size(&'static str, u32),
}

impl Class {
    pub(crate) fn new(kernel: &'static str) -> Self {
        Self { kernel, parts: Vec::with_capacity(8) }
    }

    /// Adds the name of a type.
    pub(crate) fn of_type(mut self, name: &'static str) -> Self {
        self.parts.push(Part::Name(name));
        self
    }

    /// Adds an exact size.
    pub(crate) fn exact(mut self, name: &'static str, size: usize) -> Self {
        self.parts.push(Part::Size(name, size as u32));
        self
    }

    /// Adds a size, rounded up to a power of two.
    pub(crate) fn size(mut self, name: &'static str, size: usize) -> Self {
        let class = u32::try_from(size.next_power_of_two()).unwrap_or(1 << 31);
        self.parts.push(Part::Size(name, class));
        self
    }

    /// Adds a flag, if it is on.
    pub(crate) fn flag(mut self, name: &'static str, on: bool) -> Self {
        if on {
            self.parts.push(Part::Name(name));
        }
        self
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        self.parts.iter().try_for_each(|part| match part {
            Part::Name(name) => write!(f, " {name}"),
            Part::Size(name, size) => write!(f, " {name}{size}"),
        })
    }
}
