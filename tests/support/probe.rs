//! What a service needs of its image, asked from inside: names, certificates, ONNX Runtime, a place to write.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::ToSocketAddrs;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
    fn getuid() -> u32;
}

#[repr(C)]
struct Base {
    get_api: *const c_void,
    version: extern "C" fn() -> *const c_char,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("healthcheck") {
        return;
    }
    let addresses: Vec<_> = ("localhost", 80).to_socket_addrs().expect("localhost resolves").collect();
    assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
    let bundle = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").expect("there are certificates");
    let root = std::fs::write("/nimify/written", "").is_err();
    let own = std::env::current_exe().expect("a path").parent().expect("a folder").to_path_buf();
    let library = format!("{}/lib/libonnxruntime.so.1.31.1\0", own.display());
    // SAFETY: a plain library call with a terminated path; the symbol's type is that of ONNX Runtime's C header.
    let version = unsafe {
        let handle = dlopen(library.as_ptr().cast(), 2);
        assert!(!handle.is_null(), "{:?}", CStr::from_ptr(dlerror()));
        let get: extern "C" fn() -> *const Base = std::mem::transmute(dlsym(handle, c"OrtGetApiBase".as_ptr()));
        CStr::from_ptr(((*get()).version)()).to_string_lossy().into_owned()
    };
    println!(
        "uid={} cwd={} certificates={} read-only={root} shell={} temporary={} model={} onnxruntime={version}",
        unsafe { getuid() },
        std::env::current_dir().expect("a folder").display(),
        bundle.matches("BEGIN CERTIFICATE").count(),
        std::path::Path::new("/bin/sh").exists(),
        std::fs::metadata("/tmp").is_ok(),
        std::fs::read_to_string("/models/model.onnx").expect("the model is there"),
    );
}
