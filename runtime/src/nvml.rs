//! The library that comes with NVIDIA's driver, as far as anything is asked of it.
//!
//! It is opened by name, so that a service without a GPU has nothing of it. What it can't tell is left out.
#![expect(unsafe_code, reason = "the driver's library speaks C")]

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use libloading::{Library, Symbol};

/// The name that the driver has given it for ten years.
pub(crate) const LIBRARY: &str = "libnvidia-ml.so.1";

/// What a GPU does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gpu {
    /// Its number among those that this process sees.
    pub(crate) index: String,
    /// Share of the last moments in which it ran something, 0 to 100.
    pub(crate) utilization_percent: f64,
    /// Bytes that are taken, by whomever.
    pub(crate) memory_used: u64,
    /// Bytes that there are.
    pub(crate) memory_total: u64,
}

/// `nvmlUtilization_t`, percent.
#[repr(C)]
#[derive(Default)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// `nvmlMemory_t`, bytes.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

type Device = *mut c_void;
type Init = unsafe extern "C" fn() -> c_int;
type GetCount = unsafe extern "C" fn(*mut c_uint) -> c_int;
type GetDevice = unsafe extern "C" fn(c_uint, *mut Device) -> c_int;
type GetUtilization = unsafe extern "C" fn(Device, *mut Utilization) -> c_int;
type GetCapability = unsafe extern "C" fn(Device, *mut c_int, *mut c_int) -> c_int;
type GetMemory = unsafe extern "C" fn(Device, *mut Memory) -> c_int;

/// The driver's library, ready to be asked. It is safe to ask it from any thread.
pub(crate) struct Nvml {
    get_count: GetCount,
    get_device: GetDevice,
    get_utilization: GetUtilization,
    get_memory: GetMemory,
    get_capability: GetCapability,
    /// Where the functions are.
    _library: Library,
}

impl Nvml {
    /// Opens the library of this name.
    pub(crate) fn open(name: &str) -> Result<Nvml, String> {
        let said = |error: libloading::Error| format!("can't open `{name}`: {error}");
        // SAFETY: opening the driver's library runs its initialisers, which are made for any program.
        let library = unsafe { Library::new(name) }.map_err(said)?;
        let nvml = {
            // SAFETY: these are the types of the functions in `nvml.h`, whose versioned names never change.
            let (init, get_count, get_device, get_utilization, get_memory, get_capability) = unsafe {
                let init: Symbol<'_, Init> = library.get(b"nvmlInit_v2\0").map_err(said)?;
                let get_count: Symbol<'_, GetCount> = library.get(b"nvmlDeviceGetCount_v2\0").map_err(said)?;
                let get_device: Symbol<'_, GetDevice> =
                    library.get(b"nvmlDeviceGetHandleByIndex_v2\0").map_err(said)?;
                let get_utilization: Symbol<'_, GetUtilization> =
                    library.get(b"nvmlDeviceGetUtilizationRates\0").map_err(said)?;
                let get_memory: Symbol<'_, GetMemory> = library.get(b"nvmlDeviceGetMemoryInfo\0").map_err(said)?;
                let get_capability: Symbol<'_, GetCapability> =
                    library.get(b"nvmlDeviceGetCudaComputeCapability\0").map_err(said)?;
                (*init, *get_count, *get_device, *get_utilization, *get_memory, *get_capability)
            };
            // SAFETY: it takes nothing, and has to be called first.
            let status = unsafe { init() };
            if status != 0 {
                return Err(format!("`{name}` can't begin: status {status}"));
            }
            Nvml { get_count, get_device, get_utilization, get_memory, get_capability, _library: library }
        };
        Ok(nvml)
    }

    /// Each GPU now.
    pub(crate) fn read(&self) -> Vec<Gpu> {
        self.indices().filter_map(|index| self.read_one(index)).collect()
    }

    /// The compute capability of each GPU: major and minor.
    pub(crate) fn compute_capabilities(&self) -> Vec<(u32, u32)> {
        self.indices().filter_map(|index| self.compute_capability(index)).collect()
    }

    fn indices(&self) -> std::ops::Range<c_uint> {
        let mut count = 0;
        // SAFETY: the out pointer is valid.
        let status = unsafe { (self.get_count)(&mut count) };
        0..if status == 0 { count } else { 0 }
    }

    fn compute_capability(&self, index: c_uint) -> Option<(u32, u32)> {
        let (mut device, mut major, mut minor) = (ptr::null_mut(), 0, 0);
        // SAFETY: the out pointers are valid, and the device is used only if the first call has given it.
        let told = unsafe {
            (self.get_device)(index, &mut device) == 0 && (self.get_capability)(device, &mut major, &mut minor) == 0
        };
        if told { Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?)) } else { None }
    }

    fn read_one(&self, index: c_uint) -> Option<Gpu> {
        let (mut device, mut utilization, mut memory) = (ptr::null_mut(), Utilization::default(), Memory::default());
        // SAFETY: the out pointers are valid, and the device is used only if the first call has given it.
        let told = unsafe {
            (self.get_device)(index, &mut device) == 0
                && (self.get_utilization)(device, &mut utilization) == 0
                && (self.get_memory)(device, &mut memory) == 0
        };
        told.then(|| Gpu {
            index: index.to_string(),
            utilization_percent: f64::from(utilization.gpu),
            memory_used: memory.used,
            memory_total: memory.total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two devices, of which the second can't be asked.
    const STAND_IN: &str = "
        typedef struct { unsigned gpu, memory; } Utilization;
        typedef struct { unsigned long long total, free, used; } Memory;
        int nvmlInit_v2(void) { return 0; }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(long)(index + 1); return 0; }
        int nvmlDeviceGetUtilizationRates(void *device, Utilization *u) {
            u->gpu = 40; u->memory = 7; return device == (void *)1 ? 0 : 3;
        }
        int nvmlDeviceGetMemoryInfo(void *device, Memory *m) { m->total = 100; m->free = 70; m->used = 30; return 0; }
        int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
            *major = 8; *minor = device == (void *)1 ? 6 : 9; return 0;
        }
    ";

    #[test]
    fn what_the_driver_says_is_told_and_what_it_cant_say_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("nvml.c"), folder.path().join("libnvml.so"));
        std::fs::write(&source, STAND_IN).unwrap();
        // There is a C compiler: the TLS library was built with it.
        let compiled =
            std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compiled.unwrap().success());
        let nvml = Nvml::open(library.to_str().unwrap()).unwrap();
        let gpu = Gpu { index: "0".into(), utilization_percent: 40.0, memory_used: 30, memory_total: 100 };
        assert_eq!(nvml.read(), [gpu]);
        assert_eq!(nvml.compute_capabilities(), [(8, 6), (8, 9)]);
    }

    #[test]
    fn without_a_driver_there_is_none() {
        assert!(Nvml::open("libnvidia-ml-of-nobody.so").is_err_and(|reason| reason.contains("of-nobody")));
        assert!(Nvml::open("libc.so.6").is_err_and(|reason| reason.starts_with("can't open `libc.so.6`")));
    }
}
