//! `Tensor`: a buffer, a shape and a dtype.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Gpu;
use super::sync::lock;
use crate::array::element_count;
use crate::{Array, DType, Error, Result, Shaped};

/// A row-major array on the GPU. Cheap to clone: clones share the buffer, which is freed with the last of them.
#[derive(Clone)]
pub struct Tensor {
    inner: Arc<Inner>,
}

struct Inner {
    gpu: Gpu,
    buffer: wgpu::Buffer,
    offset: u64,
    shape: Vec<usize>,
    dtype: DType,
    origin: Origin,
    /// Whether commands that the caller submits, at any time, may use the buffer.
    is_shared: AtomicBool,
}

/// The origin of a buffer, which decides how it is freed.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Caller,
    /// Created for this tensor.
    New,
    Pool,
}

/// A host type that a tensor can be made from and read into.
pub trait Element: sealed::Sealed + Copy {
    /// How the GPU stores it.
    const DTYPE: DType;
    #[doc(hidden)]
    fn to_bytes(values: &[Self]) -> Vec<u8>;
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! float_element {
    ($type:ty, $dtype:expr) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = $dtype;
            fn to_bytes(values: &[Self]) -> Vec<u8> {
                bytemuck::cast_slice(values).to_vec()
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    };
}

float_element!(f32, DType::F32);
float_element!(half::f16, DType::F16);
float_element!(half::bf16, DType::Bf16);

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn to_bytes(values: &[Self]) -> Vec<u8> {
        values.iter().map(|&value| u8::from(value)).collect()
    }
    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&byte| byte != 0).collect()
    }
}

/// A range of a buffer, as a kernel binds it.
#[derive(Clone, Copy)]
pub(crate) struct BufferRange<'a> {
    pub(super) buffer: Option<&'a wgpu::Buffer>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// A range of a buffer that holds elements of this type.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) range: BufferRange<'a>,
    pub(crate) dtype: DType,
}

impl<'a> Operand<'a> {
    /// f32.
    pub(crate) fn f32(range: BufferRange<'a>) -> Self {
        Self { range, dtype: DType::F32 }
    }
}

impl Tensor {
    /// A tensor of these values: `f32`, [`half::f16`], [`half::bf16`], or `bool` for masks.
    ///
    /// ```
    /// # pollster::block_on(async {
    /// let gpu = gqa::Gpu::from_env().await?;
    /// let x = gqa::Tensor::from_slice(&gpu, [2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).await?;
    /// assert_eq!(x.to_vec::<f32>().await?[4], 5.0);
    /// # Ok::<(), gqa::Error>(()) }).unwrap();
    /// ```
    pub async fn from_slice<E: Element>(
        gpu: &Gpu,
        shape: impl Into<Vec<usize>>,
        values: &[E],
    ) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape) != Some(values.len()) {
            return Err(Error::argument(
                "Tensor::from_slice",
                "values",
                format!("as many elements as the shape {shape:?} has"),
                format!("{} elements", values.len()),
            ));
        }
        Self::upload(gpu, "Tensor::from_slice", shape, E::DTYPE, &E::to_bytes(values)).await
    }

    /// A tensor of a host array, each value rounded to `dtype`.
    pub async fn from_array(gpu: &Gpu, array: &Array<f32>, dtype: DType) -> Result<Self> {
        let bytes = match dtype {
            DType::F32 => f32::to_bytes(array.data()),
            DType::F16 => half::f16::to_bytes(array.map(|&x| half::f16::from_f32(x)).data()),
            DType::Bf16 => half::bf16::to_bytes(array.map(|&x| half::bf16::from_f32(x)).data()),
            DType::Bool => bool::to_bytes(array.map(|&x| x != 0.0).data()),
        };
        Self::upload(gpu, "Tensor::from_array", array.shape().to_vec(), dtype, &bytes).await
    }

    /// A mask of a host array.
    pub async fn from_mask(gpu: &Gpu, mask: &Array<bool>) -> Result<Self> {
        Self::from_slice(gpu, mask.shape(), mask.data()).await
    }

    /// A tensor of undefined contents, to be written by [`encode`](crate::GroupedQueryAttention::encode).
    pub async fn empty(gpu: &Gpu, shape: impl Into<Vec<usize>>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        gpu.checked("Tensor::empty", || Self::allocate(gpu, "Tensor::empty", shape, dtype, false)).await
    }

    /// Overwrites all values of the tensor; later submissions see the new ones. `E` must be the stored type. A loop that
    /// writes to one tensor repeatedly creates no buffers.
    pub fn write<E: Element>(&self, values: &[E]) -> Result<()> {
        const OPERATION: &str = "Tensor::write";
        if E::DTYPE != self.dtype() {
            let expected = format!("{}, which the tensor is stored in", self.dtype());
            return Err(Error::argument(OPERATION, "element type", expected, E::DTYPE.to_string()));
        }
        let count = self.shape().iter().product::<usize>();
        if values.len() != count {
            let (expected, got) = (format!("{count} elements"), format!("{} elements", values.len()));
            return Err(Error::argument(OPERATION, "values", expected, got));
        }
        let mut bytes = E::to_bytes(values);
        bytes.resize(self.range().bytes as usize, 0);
        self.inner.gpu.check()?;
        self.inner.gpu.queue().write_buffer(&self.inner.buffer, self.inner.offset, &bytes);
        Ok(())
    }

    /// A tensor over the caller's own buffer, from byte `offset` on. Nothing is copied.
    ///
    /// The buffer must have been created on the same device with usage `STORAGE` (and `COPY_SRC`, to be read back). The
    /// offset must be a multiple of the device's `min_storage_buffer_offset_alignment`. The range must be a whole number of
    /// 32-bit words: a tensor with an odd number of half-precision elements needs two bytes of padding behind it, which are
    /// set to 0 when the tensor is written.
    pub fn from_buffer(
        gpu: &Gpu,
        buffer: wgpu::Buffer,
        offset: u64,
        shape: impl Into<Vec<usize>>,
        dtype: DType,
    ) -> Result<Self> {
        const OPERATION: &str = "Tensor::from_buffer";
        let shape = shape.into();
        let bytes = padded_bytes(gpu, OPERATION, &shape, dtype)?;
        let refuse = |argument: &str, expected: String, got: String| {
            Err(Error::argument(OPERATION, argument, expected, got))
        };
        let alignment = u64::from(gpu.limits().min_storage_buffer_offset_alignment);
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return refuse("buffer", "of usage STORAGE".into(), format!("{:?}", buffer.usage()));
        }
        if !offset.is_multiple_of(alignment) {
            return refuse("offset", format!("a multiple of {alignment}"), offset.to_string());
        }
        if offset.checked_add(bytes).is_none_or(|end| end > buffer.size()) {
            return refuse(
                "buffer",
                format!("at least {bytes} bytes long behind offset {offset} for shape {shape:?} of {dtype}"),
                format!("{} bytes", buffer.size()),
            );
        }
        Ok(Self::wrap(gpu, buffer, offset, shape, dtype, Origin::Caller))
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.inner.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.inner.dtype
    }

    /// The device of the tensor.
    pub fn gpu(&self) -> &Gpu {
        &self.inner.gpu
    }

    /// The wgpu buffer of the tensor.
    pub fn buffer(&self) -> &wgpu::Buffer {
        self.mark_shared();
        &self.inner.buffer
    }

    /// Whether both are ranges of one buffer.
    #[cfg(feature = "training")]
    pub(crate) fn shares_buffer(&self, other: &Tensor) -> bool {
        self.inner.buffer == other.inner.buffer
    }

    /// Offset in the buffer, in bytes.
    pub fn offset(&self) -> u64 {
        self.inner.offset
    }

    /// Waits for the GPU and reads the elements. `E` must be the stored type.
    pub async fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        if E::DTYPE != self.dtype() {
            return Err(Error::argument(
                "Tensor::to_vec",
                "element type",
                format!("{}, which the tensor is stored in", self.dtype()),
                E::DTYPE.to_string(),
            ));
        }
        let mut bytes = super::readback::read(&self.inner.gpu, &self.inner.buffer, self.range()).await?;
        bytes.truncate(self.inner.shape.iter().product::<usize>() * self.dtype().size());
        Ok(E::from_bytes(&bytes))
    }

    /// Waits for the GPU and reads the elements as f32, which represents every dtype exactly. Masks give 0 and 1.
    pub async fn to_array(&self) -> Result<Array<f32>> {
        let data = match self.dtype() {
            DType::F32 => self.to_vec::<f32>().await?,
            DType::F16 => self.to_vec::<half::f16>().await?.into_iter().map(f32::from).collect(),
            DType::Bf16 => self.to_vec::<half::bf16>().await?.into_iter().map(f32::from).collect(),
            DType::Bool => self.to_vec::<bool>().await?.into_iter().map(f32::from).collect(),
        };
        Array::new(self.shape(), data)
    }

    /// Sets every element to 0; later submissions see it. For tensors of a few bytes.
    #[cfg(feature = "training")]
    pub(crate) fn write_zeros(&self) {
        let zeros = vec![0; self.range().bytes as usize];
        self.inner.gpu.queue().write_buffer(&self.inner.buffer, self.inner.offset, &zeros);
    }

    pub(crate) fn operand(&self) -> Operand<'_> {
        Operand { range: self.range(), dtype: self.inner.dtype }
    }

    pub(crate) fn range(&self) -> BufferRange<'_> {
        let bytes = word_bytes(self.inner.shape.iter().product(), self.dtype());
        BufferRange { buffer: Some(&self.inner.buffer), offset: self.inner.offset, bytes }
    }

    /// Marks the buffer as used by commands that the caller may submit at any time.
    pub(crate) fn mark_shared(&self) {
        self.inner.is_shared.store(true, Ordering::Relaxed);
    }

    /// An output of a call that the library submits. Must be called under an error scope.
    pub(crate) fn output(
        gpu: &Gpu,
        operation: &'static str,
        shape: Vec<usize>,
        dtype: DType,
    ) -> Result<Self> {
        let bytes = padded_bytes(gpu, operation, &shape, dtype)?;
        Ok(Self::own(gpu, super::pool::take_output(gpu, bytes), shape, dtype, Origin::Pool))
    }

    async fn upload(
        gpu: &Gpu,
        operation: &'static str,
        shape: Vec<usize>,
        dtype: DType,
        bytes: &[u8],
    ) -> Result<Self> {
        gpu.checked(operation, || {
            let tensor = Self::allocate(gpu, operation, shape, dtype, true)?;
            fill_mapped(operation, &tensor.inner.buffer, bytes)?;
            Ok(tensor)
        })
        .await
    }

    /// A tensor with a new buffer. Must be called under an error scope.
    pub(crate) fn allocate(
        gpu: &Gpu,
        operation: &'static str,
        shape: Vec<usize>,
        dtype: DType,
        mapped: bool,
    ) -> Result<Self> {
        let bytes = padded_bytes(gpu, operation, &shape, dtype)?;
        gpu.inner().counters.buffers.fetch_add(1, Ordering::Relaxed);
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("gqa tensor"),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: mapped,
        });
        Ok(Self::own(gpu, buffer, shape, dtype, Origin::New))
    }

    /// A tensor over a whole buffer of the library's own.
    fn own(gpu: &Gpu, buffer: wgpu::Buffer, shape: Vec<usize>, dtype: DType, origin: Origin) -> Self {
        gpu.inner().counters.tensor_bytes.fetch_add(buffer.size(), Ordering::Relaxed);
        Self::wrap(gpu, buffer, 0, shape, dtype, origin)
    }

    // wgpu's handles are not Send in browsers, where there is one thread.
    #[cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
    fn wrap(
        gpu: &Gpu,
        buffer: wgpu::Buffer,
        offset: u64,
        shape: Vec<usize>,
        dtype: DType,
        origin: Origin,
    ) -> Self {
        let is_shared = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { gpu: gpu.clone(), buffer, offset, shape, dtype, origin, is_shared }) }
    }
}

impl Shaped for Tensor {
    fn shape(&self) -> &[usize] {
        self.shape()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let inner = self.gpu.inner();
        if self.origin != Origin::Caller {
            inner.counters.tensor_bytes.fetch_sub(self.buffer.size(), Ordering::Relaxed);
        }
        let is_shared = self.is_shared.load(Ordering::Relaxed);
        if self.origin == Origin::Pool && !is_shared {
            return super::pool::give_output(&self.gpu, self.buffer.clone());
        }
        lock(&inner.bind_groups).forget(&self.buffer);
        // In browsers a buffer that is only dropped waits for the garbage collector, which does not see GPU memory.
        if cfg!(target_arch = "wasm32") && self.origin == Origin::New && !is_shared {
            self.buffer.destroy();
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {})", self.inner.shape, self.inner.dtype)
    }
}

/// Fills a buffer that was mapped at creation, and unmaps it. If the buffer could not be allocated, nothing is written, and
/// the enclosing error scope has the cause.
pub(super) fn fill_mapped(operation: &'static str, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
    let mut view = buffer
        .get_mapped_range_mut(..)
        .map_err(|error| Error::Gpu { operation, message: error.to_string() })?;
    view.slice(..bytes.len()).copy_from_slice(bytes);
    drop(view);
    buffer.unmap();
    Ok(())
}

/// Bytes of this many elements, rounded up to a whole 32-bit word.
fn word_bytes(count: usize, dtype: DType) -> u64 {
    4 * dtype.words(count)
}

/// Bytes of a tensor. Fails if an axis has length 0 or the tensor exceeds the adapter's limits.
fn padded_bytes(gpu: &Gpu, operation: &'static str, shape: &[usize], dtype: DType) -> Result<u64> {
    let limit = gpu.max_tensor_bytes();
    let count = element_count(shape).filter(|&count| count as u64 <= u64::MAX / 8);
    match count {
        Some(0) => Err(Error::argument(operation, "shape", "free of axes of length 0", format!("{shape:?}"))),
        Some(count) if word_bytes(count, dtype) <= limit && u32::try_from(count).is_ok() => {
            Ok(word_bytes(count, dtype))
        }
        count => {
            let bytes = count.map_or(u64::MAX, |count| word_bytes(count, dtype));
            Err(Error::TooLarge { operation, argument: format!("tensor of shape {shape:?}"), bytes, limit })
        }
    }
}
