//! Values as ONNX Runtime holds them, over its C API.
//!
//! `ort`'s own values can't carry strings that aren't UTF-8 or hold a zero byte, nor optionals that are absent, and look
//! an allocator up for every output; so this file, and no other, calls the API for values and for runs. Every pointer
//! here comes from a call that said it succeeded, and is owned by exactly one [`NativeValue`].
#![expect(unsafe_code, reason = "ONNX Runtime's C API is the only way to carry every value that it serves")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use ort::AsPointer;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType, ONNXType, OrtRunOptions, OrtStatusPtr, OrtValue};

use super::types;
use crate::signature::ElementType;

/// A value of ONNX Runtime's, released on drop. `'data` is the life of buffers that it borrows. A slice of them is what
/// the API takes as an array of pointers.
#[repr(transparent)]
pub(super) struct NativeValue<'data> {
    value: NonNull<OrtValue>,
    data: PhantomData<&'data [u8]>,
}

impl Drop for NativeValue<'_> {
    fn drop(&mut self) {
        // SAFETY: the pointer is valid and owned by this value alone.
        unsafe { (ort::api().ReleaseValue)(self.value.as_ptr()) }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tensor,
    Sequence,
    Map,
    /// Sparse tensors and opaque values: nothing that an answer can carry.
    Other,
}

pub(super) fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status was just returned by the API, and its ownership goes over.
    unsafe { ort::Error::result_from_status(status) }
}

fn owned<'data>(value: *mut OrtValue) -> ort::Result<NativeValue<'data>> {
    let value = NonNull::new(value).ok_or_else(|| ort::Error::new("ONNX Runtime gave a null value"))?;
    Ok(NativeValue { value, data: PhantomData })
}

/// Sizes as the API takes them; those of most tensors without an allocation.
fn with_dims<T>(shape: &[usize], then: impl FnOnce(&[i64]) -> ort::Result<T>) -> ort::Result<T> {
    const FEW: usize = 8;
    let fits = |&d: &usize| i64::try_from(d).map_err(|_| ort::Error::new(format!("a dimension of {d} is too large")));
    if shape.len() > FEW {
        return then(&shape.iter().map(fits).collect::<ort::Result<Vec<_>>>()?);
    }
    let mut few = [0; FEW];
    for (to, from) in few.iter_mut().zip(shape) {
        *to = fits(from)?;
    }
    then(&few[..shape.len()])
}

/// Names of inputs or outputs, made once for all runs.
pub(super) struct Names {
    /// What the pointers point at.
    _names: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are those of strings that the same value owns and that nobody changes.
unsafe impl Send for Names {}
// SAFETY: as above.
unsafe impl Sync for Names {}

impl Names {
    pub(super) fn new(names: Vec<CString>) -> Names {
        let pointers = names.iter().map(|name| name.as_ptr()).collect();
        Names { _names: names, pointers }
    }

    fn len(&self) -> usize {
        self.pointers.len()
    }
}

pub(super) fn cpu() -> &'static MemoryInfo<'static> {
    static CPU: OnceLock<MemoryInfo<'static>> = OnceLock::new();
    CPU.get_or_init(MemoryInfo::default)
}

fn allocator() -> ort::Result<*mut ort::sys::OrtAllocator> {
    let mut allocator = ptr::null_mut();
    // SAFETY: the out pointer is valid; the allocator is ONNX Runtime's own and is never released.
    check(unsafe { (ort::api().GetAllocatorWithDefaultOptions)(&mut allocator) })?;
    Ok(allocator)
}

/// Types whose bytes are the same here and in ONNX Runtime.
///
/// # Safety
/// The type is plain bytes without padding, and [`Plain::TYPE`] is the one of that very layout.
pub(super) unsafe trait Plain: Copy + 'static {
    /// Its number in ONNX Runtime.
    const TYPE: ONNXTensorElementDataType;
}

macro_rules! plain {
    ($($rust:ty => $ty:ident),+ $(,)?) => {
        // SAFETY: primitive types, or transparent wrappers of one, each beside the element type of its own name.
        $(unsafe impl Plain for $rust { const TYPE: ONNXTensorElementDataType = ONNXTensorElementDataType::$ty; })+
    };
}

plain! {
    f32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, f64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    half::f16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, half::bf16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    i8 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, i16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    i32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, i64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    u8 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, u16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    u32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, u64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    bool => ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
}

/// [`Plain`] types of which any bytes are a value: not `bool`, of which a model file may hold a 7.
///
/// # Safety
/// Every pattern of bits is a value of the type.
pub(super) unsafe trait AnyBits: Plain {}

macro_rules! any_bits {
    ($($rust:ty),+ $(,)?) => {
        // SAFETY: integers and floats, of which every pattern of bits is a value.
        $(unsafe impl AnyBits for $rust {})+
    };
}

any_bits!(f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64);

impl<'data> NativeValue<'data> {
    /// A tensor over `data`, which isn't copied: as many elements as `shape` says.
    pub(super) fn tensor<T: Plain>(shape: &[usize], data: &'data [T]) -> ort::Result<Self> {
        if crate::tensor::element_count(shape) != Some(data.len()) {
            return Err(ort::Error::new(format!("{} elements don't make a tensor of shape {shape:?}", data.len())));
        }
        let mut value = ptr::null_mut();
        // SAFETY: the buffer is readable for the length given and outlives the value, which `'data` sees to. ONNX
        // Runtime never writes to a run's inputs, although this call takes a mutable pointer.
        with_dims(shape, |dims| {
            check(unsafe {
                (ort::api().CreateTensorWithDataAsOrtValue)(
                    cpu().ptr(),
                    data.as_ptr().cast_mut().cast::<c_void>(),
                    size_of_val(data),
                    dims.as_ptr(),
                    dims.len(),
                    T::TYPE,
                    &mut value,
                )
            })
        })?;
        owned(value)
    }

    /// A tensor that holds its own elements, as many as `shape` says, not yet filled.
    fn allocated(shape: &[usize], element_type: ONNXTensorElementDataType) -> ort::Result<Self> {
        let allocator = allocator()?;
        let mut value = ptr::null_mut();
        with_dims(shape, |dims| {
            // SAFETY: the sizes are readable for their length, and the out pointer is valid.
            check(unsafe {
                (ort::api().CreateTensorAsOrtValue)(allocator, dims.as_ptr(), dims.len(), element_type, &mut value)
            })
        })?;
        owned(value)
    }

    /// A tensor of rank 1 that holds a copy of `data`.
    pub(super) fn copied<T: Plain>(data: &[T]) -> ort::Result<Self> {
        let value = Self::allocated(&[data.len()], T::TYPE)?;
        let mut to: *mut c_void = ptr::null_mut();
        // SAFETY: the tensor was made for as many elements of this type as are copied; nobody else has it yet.
        unsafe {
            check((ort::api().GetTensorMutableData)(value.value.as_ptr(), &mut to))?;
            if !to.is_null() {
                ptr::copy_nonoverlapping(data.as_ptr(), to.cast::<T>(), data.len());
            }
        }
        Ok(value)
    }

    /// A tensor of a narrow type that holds a copy of `packed`: the elements of `shape` as ONNX Runtime holds them.
    pub(super) fn packed(shape: &[usize], element_type: ElementType, packed: &[u8]) -> ort::Result<Self> {
        let wrong = || ort::Error::new(format!("{} bytes don't make {element_type} of {shape:?}", packed.len()));
        let number = types::narrow_number(element_type).ok_or_else(wrong)?;
        let count = crate::tensor::element_count(shape).ok_or_else(wrong)?;
        if crate::narrow::packed_len(element_type, count) != packed.len() {
            return Err(wrong());
        }
        let value = Self::allocated(shape, number)?;
        let mut to: *mut c_void = ptr::null_mut();
        // SAFETY: the tensor was made for as many elements as the bytes hold; nobody else has it yet.
        unsafe {
            check((ort::api().GetTensorMutableData)(value.value.as_ptr(), &mut to))?;
            if !to.is_null() {
                ptr::copy_nonoverlapping(packed.as_ptr(), to.cast::<u8>(), packed.len());
            }
        }
        Ok(value)
    }

    /// A tensor of strings, each any bytes, which are copied.
    pub(super) fn strings(shape: &[usize], strings: &[Vec<u8>]) -> ort::Result<Self> {
        if crate::tensor::element_count(shape) != Some(strings.len()) {
            return Err(ort::Error::new(format!("{} strings don't make a tensor of shape {shape:?}", strings.len())));
        }
        let value = Self::allocated(shape, ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING)?;
        for (k, bytes) in strings.iter().enumerate() {
            let mut buffer: *mut c_char = ptr::null_mut();
            // SAFETY: the index is below the element count; the buffer given back holds exactly the bytes asked for.
            unsafe {
                let api = ort::api();
                check((api.GetResizedStringTensorElementBuffer)(value.value.as_ptr(), k, bytes.len(), &mut buffer))?;
                ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>(), bytes.len());
            }
        }
        Ok(value)
    }

    /// A sequence of `parts`, of which there must be one.
    pub(super) fn sequence(parts: &[NativeValue<'data>]) -> ort::Result<Self> {
        Self::compose(parts, ONNXType::ONNX_TYPE_SEQUENCE)
    }

    /// A map from the elements of `keys` to those of `values`, both of rank 1.
    pub(super) fn map(keys: NativeValue<'data>, values: NativeValue<'data>) -> ort::Result<Self> {
        Self::compose(&[keys, values], ONNXType::ONNX_TYPE_MAP)
    }

    fn compose(parts: &[NativeValue<'data>], kind: ONNXType) -> ort::Result<Self> {
        let pointers: Vec<_> = parts.iter().map(|part| part.value.as_ptr().cast_const()).collect();
        let mut value = ptr::null_mut();
        // SAFETY: the pointers are valid values. The composed value holds its own references to them or copies, and
        // keeps their `'data`.
        check(unsafe { (ort::api().CreateValue)(pointers.as_ptr(), pointers.len(), kind, &mut value) })?;
        owned(value)
    }

    /// What this is.
    pub(super) fn kind(&self) -> ort::Result<Kind> {
        let mut kind: c_int = 0;
        // SAFETY: the out pointer is that of a C enum, read as its integer so that an unknown one is no fault.
        check(unsafe { (ort::api().GetValueType)(self.value.as_ptr(), (&raw mut kind).cast::<ONNXType>()) })?;
        Ok(match kind {
            k if k == ONNXType::ONNX_TYPE_TENSOR as c_int => Kind::Tensor,
            k if k == ONNXType::ONNX_TYPE_SEQUENCE as c_int => Kind::Sequence,
            k if k == ONNXType::ONNX_TYPE_MAP as c_int => Kind::Map,
            _ => Kind::Other,
        })
    }

    /// Whether there is a value: an optional may hold none.
    pub(super) fn is_present(&self) -> ort::Result<bool> {
        let mut present: c_int = 0;
        // SAFETY: the value and the out pointer are valid.
        check(unsafe { (ort::api().HasValue)(self.value.as_ptr(), &mut present) })?;
        Ok(present != 0)
    }

    /// The parts of a sequence, or the keys and the values of a map.
    pub(super) fn parts(&self) -> ort::Result<Vec<NativeValue<'data>>> {
        let mut count = 0;
        // SAFETY: the value and the out pointer are valid.
        check(unsafe { (ort::api().GetValueCount)(self.value.as_ptr(), &mut count) })?;
        let allocator = allocator()?;
        (0..count)
            .map(|k| {
                let k = c_int::try_from(k).map_err(|_| ort::Error::new("a sequence is too long"))?;
                let mut part = ptr::null_mut();
                // SAFETY: the index is below the count; the part is a value of its own, to be released.
                check(unsafe { (ort::api().GetValue)(self.value.as_ptr(), k, allocator, &mut part) })?;
                owned(part)
            })
            .collect()
    }

    /// Element type (`None` for one that has no name here) and shape of a tensor.
    pub(super) fn tensor_type(&self) -> ort::Result<(Option<ElementType>, Vec<usize>)> {
        let (mut number, mut sizes, mut rank): (c_int, *const i64, usize) = (0, ptr::null(), 0);
        // SAFETY: the out pointers are valid, the first being that of a C enum, read as its integer.
        check(unsafe {
            let number = (&raw mut number).cast::<ONNXTensorElementDataType>();
            (ort::api().GetTensorElementTypeAndShapeDataReference)(self.value.as_ptr(), number, &mut sizes, &mut rank)
        })?;
        let sizes = match rank {
            0 => &[],
            // SAFETY: ONNX Runtime gave the sizes, as many as the rank; they live as long as the value.
            _ => unsafe { std::slice::from_raw_parts(sizes, rank) },
        };
        let size = |&d: &i64| usize::try_from(d).map_err(|_| ort::Error::new("a dimension is negative"));
        Ok((types::element_type(number), sizes.iter().map(size).collect::<ort::Result<_>>()?))
    }

    /// A copy of the `count` elements of a tensor of booleans.
    pub(super) fn bool_elements(&self, count: usize) -> ort::Result<Vec<bool>> {
        Ok(self.elements::<u8>(count)?.into_iter().map(|byte| byte != 0).collect())
    }

    /// A copy of the `count` elements of a tensor whose element type is `T`'s, or as large as `T`.
    pub(super) fn elements<T: AnyBits>(&self, count: usize) -> ort::Result<Vec<T>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the value is a tensor; the out pointer is valid.
        check(unsafe { (ort::api().GetTensorMutableData)(self.value.as_ptr(), &mut data) })?;
        if data.is_null() {
            return Err(ort::Error::new("a tensor holds no data"));
        }
        // SAFETY: the caller asked the tensor for its type and shape, so that it holds `count` elements as large as `T`,
        // of which any bits are a value, on the CPU, aligned by ONNX Runtime's allocator.
        Ok(unsafe { std::slice::from_raw_parts(data.cast_const().cast::<T>(), count) }.to_vec())
    }

    /// A copy of the `count` strings of a tensor of strings.
    pub(super) fn string_elements(&self, count: usize) -> ort::Result<Vec<Vec<u8>>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut length = 0;
        // SAFETY: the value is a tensor of strings; the out pointer is valid.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.value.as_ptr(), &mut length) })?;
        let (mut bytes, mut starts) = (vec![0u8; length], vec![0usize; count]);
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: both buffers are writable for the lengths given.
        check(unsafe {
            (ort::api().GetStringTensorContent)(self.value.as_ptr(), to, length, starts.as_mut_ptr(), count)
        })?;
        starts.push(length);
        let string = |w: &[usize]| bytes.get(w[0]..w[1]).map(<[u8]>::to_vec);
        let strings = starts.windows(2).map(string).collect::<Option<_>>();
        strings.ok_or_else(|| ort::Error::new("a tensor of strings holds impossible offsets"))
    }
}

/// Options of a run, released on drop.
struct RunOptions(NonNull<OrtRunOptions>);

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: `CreateRunOptions` gave it, and nobody else has it.
        unsafe { (ort::api().ReleaseRunOptions)(self.0.as_ptr()) }
    }
}

impl RunOptions {
    /// A run after which the CPU arena gives back what isn't in use.
    fn shrinking() -> ort::Result<Self> {
        let mut options = ptr::null_mut();
        // SAFETY: the out pointer is valid.
        check(unsafe { (ort::api().CreateRunOptions)(&mut options) })?;
        let options =
            NonNull::new(options).map(RunOptions).ok_or_else(|| ort::Error::new("there are no run options"))?;
        let (key, value) = (c"memory.enable_memory_arena_shrinkage", c"cpu:0");
        // SAFETY: the options are valid, key and value C strings that are copied.
        check(unsafe { (ort::api().AddRunConfigEntry)(options.0.as_ptr(), key.as_ptr(), value.as_ptr()) })?;
        Ok(options)
    }
}

/// Inputs of a run: names, and as many values, each of which is there.
pub(super) struct Given<'run, 'data> {
    names: &'run [*const c_char],
    values: &'run [Option<NativeValue<'data>>],
}

/// Lends the values that are there to a run, by the names of those that could be: an absent one is left out.
pub(super) fn given<'data, T>(
    names: &Names,
    values: Vec<Option<NativeValue<'data>>>,
    run: impl FnOnce(Given<'_, 'data>) -> ort::Result<T>,
) -> ort::Result<T> {
    debug_assert_eq!(names.len(), values.len());
    if values.iter().all(Option::is_some) {
        return run(Given { names: &names.pointers, values: &values });
    }
    let there = names.pointers.iter().copied().zip(values).filter(|(_, value)| value.is_some());
    let (names, values): (Vec<_>, Vec<_>) = there.unzip();
    run(Given { names: &names, values: &values })
}

/// Runs the session once, and shrinks its arena afterwards where `shrink` says so. An output that is an absent optional
/// is `None`.
///
/// Outputs may share the inputs' buffers, where the graph passes one through, and so don't outlive them.
pub(super) fn run<'data>(
    session: &Session,
    inputs: &Given<'_, 'data>,
    output_names: &Names,
    shrink: bool,
) -> ort::Result<Vec<Option<NativeValue<'data>>>> {
    let options = shrink.then(RunOptions::shrinking).transpose()?;
    // Null stands for `None`, which is what the API reads and leaves there.
    let mut outputs: Vec<Option<NativeValue<'data>>> = Vec::new();
    outputs.resize_with(output_names.len(), || None);
    // SAFETY: every array is as long as the count beside it: names are C strings, and slices of values arrays of pointers,
    // by their transparent type, those of inputs valid ones. The options are null or valid. ONNX Runtime lets threads run one session at
    // the same time. A pointer that it writes is a value of ours, and if it fails it writes none.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            options.as_ref().map_or(ptr::null(), |options| options.0.as_ptr()),
            inputs.names.as_ptr(),
            inputs.values.as_ptr().cast::<*const OrtValue>(),
            inputs.values.len(),
            output_names.pointers.as_ptr(),
            output_names.len(),
            outputs.as_mut_ptr().cast::<*mut OrtValue>(),
        )
    };
    check(status).map(|()| outputs)
}
