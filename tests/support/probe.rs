//! What a service needs of its image, asked from inside: names, certificates, ONNX Runtime, a place to write.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::ToSocketAddrs;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
    fn getuid() -> u32;
    fn newlocale(mask: c_int, name: *const c_char, base: *const c_void) -> *const c_void;
    fn towlower_l(letter: u32, locale: *const c_void) -> u32;
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
        "uid={} cwd={} lower={} certificates={} read-only={root} shell={} temporary={} model={} onnxruntime={version}",
        unsafe { getuid() },
        std::env::current_dir().expect("a folder").display(),
        lower('É'),
        bundle.matches("BEGIN CERTIFICATE").count(),
        std::path::Path::new("/bin/sh").exists(),
        std::fs::metadata("/tmp").is_ok(),
        std::fs::read_to_string("/models/model.onnx").expect("the model is there"),
    );
}

/// As ONNX Runtime makes a letter small, which needs all parts of the locale to be there.
fn lower(letter: char) -> char {
    // SAFETY: plain library calls; the name is terminated, and the mask is what glibc's headers call `LC_ALL_MASK`.
    unsafe {
        let locale = newlocale(0x1fbf, c"en_US.UTF-8".as_ptr(), std::ptr::null());
        assert!(!locale.is_null(), "the image has no locale `en_US.UTF-8`");
        char::from_u32(towlower_l(letter.into(), locale)).expect("a letter")
    }
}
