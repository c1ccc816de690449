//! Nothing. The package is there for its example, which is the source of the library.
