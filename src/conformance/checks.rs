//! The set.

use super::{Inputs, LayerCase, LayerData, Outcome, larger, relative_error, values};
use crate::{
    Array, AttentionOptions, AttentionPath, Config, DType, DTypePolicy, Dropout, FeatureWidths, Gpu,
    Regularizer, Result, Tensor, reference, scaled_dot_product_attention,
};

/// One thing that an adapter has to compute as the reference does.
#[derive(Debug, Clone)]
pub struct Check {
    /// Checks of a kind stand together: `heads`, `sizes`, `masks`, …
    pub group: &'static str,
    /// What is checked; unique within its group.
    pub name: &'static str,
    work: Work,
}

#[derive(Debug, Clone)]
enum Work {
    /// Attention alone.
    Attention,
    /// Output and scores, on both paths.
    Layer(LayerCase),
    /// The same with NaN and infinity where `value_mask` hides them.
    Wild(LayerCase),
    /// The gradients of everything.
    Gradients(LayerCase),
    /// Which probabilities are dropped, on both paths; all must be those of [`Dropout::keeps`].
    Pattern(Dropout),
}

/// The set, in the order in which to run it: what is quick and plain is first.
pub fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |group, name, work| all.push(Check { group, name, work });
    let heads = |head_dim, query_heads, key_heads| Config::new(head_dim, query_heads, key_heads);
    let plain = || LayerCase::new(heads(8, 6, 2), 13, [2, 9, 21]);
    let with = |change: &dyn Fn(&mut LayerCase)| {
        let mut case = plain();
        change(&mut case);
        case
    };

    add("attention", "alone", Work::Attention);
    add("heads", "groups of three", Work::Layer(plain()));
    for (name, heads) in [
        ("multi-head", heads(4, 5, 5)),
        ("multi-query", heads(16, 7, 1)),
        ("one head", heads(3, 1, 1)),
        ("wide heads", heads(130, 2, 1)),
    ] {
        add("heads", name, Work::Layer(LayerCase::new(heads, 11, [2, 5, 9])));
    }

    for (name, sizes) in [
        ("one query, one key", [1, 1, 1]),
        ("one query, 300 keys", [1, 1, 300]),
        ("one past a tile", [2, 9, 65]),
        ("more queries than keys", [1, 70, 3]),
    ] {
        add("sizes", name, Work::Layer(LayerCase::new(heads(9, 6, 2), 12, sizes)));
    }
    add("sizes", "whole tiles", Work::Layer(LayerCase::new(heads(64, 4, 2), 64, [1, 64, 128])));

    let masked = |shape: &[usize]| Some(shape.to_vec());
    for (name, case) in [
        ("causal", with(&|case| case.causal = true)),
        ("sliding window", with(&|case| case.config.sliding_window = Some(4))),
        ("causal from a position", with(&|case| (case.causal, case.q_offset) = (true, 5))),
        ("attention mask [T,S]", with(&|case| case.attention_mask = masked(&[9, 21]))),
        ("attention mask [B,T,S]", with(&|case| case.attention_mask = masked(&[2, 9, 21]))),
        ("attention mask [B,H,T,S]", with(&|case| case.attention_mask = masked(&[2, 6, 9, 21]))),
        ("attention mask [B,1,1,S]", with(&|case| case.attention_mask = masked(&[2, 1, 1, 21]))),
        ("query mask", with(&|case| case.masks[0] = true)),
        ("value mask", with(&|case| case.masks[1] = true)),
        ("key mask", with(&|case| case.masks[2] = true)),
        (
            "all together",
            with(&|case| {
                (case.causal, case.masks) = (true, [true; 3]);
                case.config.sliding_window = Some(5);
                case.attention_mask = masked(&[2, 6, 9, 21]);
            }),
        ),
    ] {
        add("masks", name, Work::Layer(case));
    }
    add("masks", "NaN and infinity behind a mask", Work::Wild(with(&|case| case.masks[1] = true)));

    for (name, case) in [
        ("no bias", with(&|case| case.config.use_bias = false)),
        ("gate", with(&|case| case.config.use_gate = true)),
        (
            "a key of its own width",
            with(&|case| {
                case.with_key = true;
                case.widths = FeatureWidths { query: 13, key: 5, value: 17 };
            }),
        ),
    ] {
        add("options", name, Work::Layer(case));
    }

    for dtype in DTypePolicy::ALL {
        let case = with(&|case| {
            (case.config.dtype, case.config.use_gate) = (dtype, true);
            (case.inputs, case.causal) = (dtype.compute_dtype(), true);
        });
        add("precision", dtype.name(), Work::Layer(case));
    }

    let dropped = with(&|case| {
        (case.config.dropout, case.dropout_seed) = (0.3, Some(5 << 33 | 7));
        (case.causal, case.q_offset, case.batch_offset) = (true, 2, 3);
    });
    add("dropout", "a layer in training", Work::Layer(dropped.clone()));
    for (name, dropout) in [
        ("pattern, bit for bit", Dropout { probability: 0.25, seed: 1, q_offset: 0, batch_offset: 0 }),
        (
            "pattern of a part of a batch",
            Dropout { probability: 0.6, seed: u64::MAX - 2, q_offset: 7, batch_offset: 40 },
        ),
    ] {
        add("dropout", name, Work::Pattern(dropout));
    }

    let everything = |dtype: DTypePolicy| {
        with(&|case| {
            case.config.sliding_window = Some(6);
            (case.config.use_gate, case.config.dtype) = (true, dtype);
            case.config.kernel_regularizer = Some(Regularizer::L1L2 { l1: 0.001, l2: 0.002 });
            case.config.activity_regularizer = Some(Regularizer::L2 { l2: 0.001 });
            (case.config.dropout, case.dropout_seed) = (0.2, Some(3));
            case.widths = FeatureWidths { query: 13, key: 5, value: 17 };
            (case.with_key, case.causal, case.masks) = (true, true, [true; 3]);
            (case.attention_mask, case.inputs) = (masked(&[2, 1, 9, 21]), dtype.compute_dtype());
        })
    };
    for (name, case) in [
        ("plain", plain()),
        ("causal, with dropout", dropped),
        ("everything", everything(DTypePolicy::Float32)),
        ("everything, mixed_float16", everything(DTypePolicy::MixedFloat16)),
    ] {
        add("gradients", name, Work::Gradients(case));
    }
    all
}

impl Check {
    /// Computes on the GPU and on the reference. Fails where the GPU can't be used; that a result is wrong is an outcome.
    pub async fn run(&self, gpu: &Gpu) -> Result<Outcome> {
        match &self.work {
            Work::Attention => attention(gpu).await,
            Work::Layer(case) => layer(gpu, case, &case.data()).await,
            Work::Wild(case) => layer(gpu, case, &wild(case)).await,
            Work::Gradients(case) => gradients(gpu, case).await,
            Work::Pattern(dropout) => pattern(gpu, dropout).await,
        }
    }
}

/// The one kernel that everything else is about.
async fn attention(gpu: &Gpu) -> Result<Outcome> {
    let (b, t, s, h, hkv, d) = (1, 3, 10, 4, 2, 8);
    let [q, k, v] =
        [(t, h, 1), (s, hkv, 2), (s, hkv, 3)].map(|(rows, h, seed)| values(&[b, rows, h, d], seed));
    let options = reference::AttentionOptions {
        score: reference::ScoreRule::of_layer(d),
        visibility: reference::Visibility::default(),
        dropout: None,
    };
    let expected = reference::attention_forward(&q.to_f64(), &k.to_f64(), &v.to_f64(), &options)?;
    let tensor = async |array| Tensor::from_array(gpu, array, DType::F32).await;
    let (q, k, v) = (tensor(&q).await?, tensor(&k).await?, tensor(&v).await?);
    let got = scaled_dot_product_attention(&q, &k, &v, &AttentionOptions::default()).await?;
    Ok(Outcome { error: error(&got.output, &expected.output).await?, tolerance: DType::F32.tolerance() })
}

/// The case's call with this data, beside the reference's with the case's own.
async fn layer(gpu: &Gpu, case: &LayerCase, data: &LayerData) -> Result<Outcome> {
    let expected = case.call_reference(&case.data())?;
    let layer = case.build(gpu).await?;
    let mut worst = 0.0;
    for path in AttentionPath::ALL {
        let got = LayerCase { path, ..case.clone() }.call(&layer, data).await?;
        worst = larger(worst, error(&got.attention_output, &expected.attention_output).await?);
        if let Some(scores) = &got.attention_scores {
            worst = larger(worst, error(scores, &expected.attention_scores).await?);
        }
    }
    Ok(Outcome { error: worst, tolerance: case.config.dtype.compute_dtype().tolerance() })
}

async fn error(got: &Tensor, expected: &Array<f64>) -> Result<f64> {
    Ok(relative_error(got.to_array().await?.data(), expected.data()))
}

/// The data of a case, with numbers that must not be looked at wherever its `value_mask` is false.
fn wild(case: &LayerCase) -> LayerData {
    let mut data = case.data();
    let width = case.widths.value;
    if let Some(mask) = &data.value_mask {
        for (row, _) in data.value.data_mut().chunks_mut(width).zip(mask.data()).filter(|(_, seen)| !**seen) {
            row.fill(f32::NAN);
            row[0] = f32::INFINITY;
        }
    }
    data
}

async fn gradients(gpu: &Gpu, case: &LayerCase) -> Result<Outcome> {
    let data = case.data();
    let d_output = values(&[case.sizes[0], case.sizes[1], case.widths.query], 77);

    let key = data.key.as_ref().map(Array::to_f64);
    let expected = reference::backward(
        &case.config,
        &case.rounded_weights()?.map(Array::to_f64),
        &data.query.to_f64(),
        &data.value.to_f64(),
        &case.reference_options(&data, key.as_ref()),
        &d_output.to_f64(),
    )?;

    let layer = case.build(gpu).await?;
    let inputs = Inputs::upload(gpu, case, &data).await?;
    let options = crate::CallOptions { path: None, ..inputs.options(case, false) };
    let (_, tape) = layer.call_with_tape(&inputs.query, &inputs.value, &options).await?;
    let got = tape.backward(&Tensor::from_array(gpu, &d_output, DType::F32).await?).await?;

    let weights = got.weights.named().into_iter().zip(expected.weights.named());
    let mut pairs: Vec<_> = weights.map(|((_, got), (_, expected))| (got, expected)).collect();
    pairs.extend([(&got.query, &expected.query), (&got.value, &expected.value)]);
    pairs.extend(got.key.as_ref().zip(expected.key.as_ref()));
    let mut worst = 0.0;
    for (got, expected) in pairs {
        // That of the key's bias is 0 but for rounding, which is no scale to measure by.
        let expected = expected.map(|&x| if x.abs() < 1e-12 { 0.0 } else { x });
        worst = larger(worst, error(got, &expected).await?);
    }
    let dtype = case.config.dtype.compute_dtype();
    Ok(Outcome { error: worst, tolerance: if dtype == DType::F32 { 2e-5 } else { dtype.tolerance() } })
}

/// Queries of 0 weigh all keys alike, and values that are the unit matrix show each weight: 0 if it was dropped. The error is
/// the part of the probabilities that are not what they should be.
async fn pattern(gpu: &Gpu, dropout: &Dropout) -> Result<Outcome> {
    let (b, t, s, h, hkv) = (2, 7, 44, 6, 2);
    let d = s;
    let zeros = Tensor::from_array(gpu, &Array::from_fn([b, t, h, d], |_| 0.0), DType::F32).await?;
    let key = Tensor::from_array(gpu, &values(&[b, s, hkv, d], 1), DType::F32).await?;
    let unit = |i: usize| if i % d == i / (hkv * d) % s { 1.0 } else { 0.0 };
    let value = Tensor::from_array(gpu, &Array::from_fn([b, s, hkv, d], unit), DType::F32).await?;
    let mut wrong = 0;
    for path in AttentionPath::ALL {
        let options =
            AttentionOptions { dropout: Some(*dropout), path: Some(path), ..AttentionOptions::default() };
        let got =
            scaled_dot_product_attention(&zeros, &key, &value, &options).await?.output.to_array().await?;
        for (i, &weight) in got.data().iter().enumerate() {
            let [b, t, h, s] = [i / (d * h * t), i / (d * h) % t, i / d % h, i % d].map(|index| index as u32);
            // A NaN is neither.
            let right = if dropout.keeps(b, h, t, s) { weight > 0.0 } else { weight == 0.0 };
            wrong += usize::from(!right);
        }
    }
    Ok(Outcome { error: wrong as f64 / (AttentionPath::ALL.len() * b * t * h * s) as f64, tolerance: 0.0 })
}
