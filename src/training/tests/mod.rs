//! Training terms against references, against finite differences and against Keras.

mod keras;
mod optimizer;
mod terms;
