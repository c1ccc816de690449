//! Numbers on the GPU.

use gqa::{DType, Element};
use half::{bf16, f16};
use js_sys::{Float32Array, Promise, Uint8Array, Uint16Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{argument, promise, to_js};
use crate::gpu::Gpu;

/// Numbers on the GPU.
#[wasm_bindgen]
pub struct Tensor(pub(crate) gqa::Tensor);

/// Copies the numbers of a typed array to the GPU: a `Float32Array`, a `Uint16Array` of bits, a `Uint8Array` of a mask.
/// They are read before this returns.
#[wasm_bindgen(js_name = upload)]
pub fn upload(gpu: &Gpu, data: &JsValue, shape: Vec<usize>, dtype: &str) -> Result<Promise, JsValue> {
    let gpu = &gpu.0;
    match dtype_of(dtype)? {
        DType::F32 => Ok(send::<f32>(gpu, shape, floats(data)?)),
        DType::F16 => Ok(send(gpu, shape, halves(data, f16::from_bits)?)),
        DType::Bf16 => Ok(send(gpu, shape, halves(data, bf16::from_bits)?)),
        _ => Ok(send(gpu, shape, flags(data)?)),
    }
}

fn send<E: Element + 'static>(gpu: &gqa::Gpu, shape: Vec<usize>, values: Vec<E>) -> Promise {
    let gpu = gpu.clone();
    promise(async move { Ok(Tensor(gqa::Tensor::from_slice(&gpu, shape, &values).await.map_err(to_js)?)) })
}

pub(crate) fn floats(data: &JsValue) -> Result<Vec<f32>, JsValue> {
    let array = data.dyn_ref::<Float32Array>();
    array.map(Float32Array::to_vec).ok_or_else(|| argument("data", "a Float32Array for float32", &kind(data)))
}

fn halves<E>(data: &JsValue, from_bits: fn(u16) -> E) -> Result<Vec<E>, JsValue> {
    let array = data.dyn_ref::<Uint16Array>().map(Uint16Array::to_vec);
    let array = array.ok_or_else(|| argument("data", "a Uint16Array of bits for half types", &kind(data)))?;
    Ok(array.into_iter().map(from_bits).collect())
}

fn flags(data: &JsValue) -> Result<Vec<bool>, JsValue> {
    let array = data.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec);
    let array = array.ok_or_else(|| argument("data", "a Uint8Array for masks", &kind(data)))?;
    Ok(array.into_iter().map(|byte| byte != 0).collect())
}

fn kind(value: &JsValue) -> String {
    match js_sys::Object::try_from(value) {
        Some(object) => object.constructor().name().into(),
        None => value.js_typeof().as_string().unwrap_or_default(),
    }
}

pub(crate) fn dtype_of(name: &str) -> Result<DType, JsValue> {
    match name {
        "float32" => Ok(DType::F32),
        "float16" => Ok(DType::F16),
        "bfloat16" => Ok(DType::Bf16),
        "bool" => Ok(DType::Bool),
        other => Err(argument("dtype", "float32, float16, bfloat16 or bool", &format!("`{other}`"))),
    }
}

#[wasm_bindgen]
impl Tensor {
    /// The length of each axis.
    #[wasm_bindgen(getter)]
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    /// `DType`.
    #[wasm_bindgen(getter)]
    pub fn dtype(&self) -> String {
        let name = match self.0.dtype() {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::Bf16 => "bfloat16",
            _ => "bool",
        };
        name.into()
    }

    /// The numbers as they are stored.
    pub fn data(&self) -> Promise {
        let tensor = self.0.clone();
        promise(async move {
            Ok(match tensor.dtype() {
                DType::F32 => {
                    JsValue::from(Float32Array::from(&tensor.to_vec::<f32>().await.map_err(to_js)?[..]))
                }
                DType::F16 => bits(tensor.to_vec().await.map_err(to_js)?, f16::to_bits),
                DType::Bf16 => bits(tensor.to_vec().await.map_err(to_js)?, bf16::to_bits),
                _ => {
                    let flags: Vec<u8> =
                        tensor.to_vec::<bool>().await.map_err(to_js)?.into_iter().map(u8::from).collect();
                    Uint8Array::from(&flags[..]).into()
                }
            })
        })
    }

    /// The numbers as a `Float32Array`.
    #[wasm_bindgen(js_name = toFloat32)]
    pub fn to_float32(&self) -> Promise {
        let tensor = self.0.clone();
        promise(async move { Ok(Float32Array::from(tensor.to_array().await.map_err(to_js)?.data())) })
    }
}

fn bits<E>(values: Vec<E>, to_bits: fn(E) -> u16) -> JsValue {
    let bits: Vec<u16> = values.into_iter().map(to_bits).collect();
    Uint16Array::from(&bits[..]).into()
}
