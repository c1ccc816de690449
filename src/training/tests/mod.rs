//! Training terms against references, against finite differences and against Keras.

mod optimizer;
mod terms;
