//! NVIDIA's GPUs, as the library that comes with their driver tells of them: only where a GPU runs the model.

use std::sync::OnceLock;

pub(super) use crate::nvml::Gpu;
use crate::nvml::{LIBRARY, Nvml};

/// The GPUs, if they are to be watched and the driver is there.
#[derive(Default)]
pub(super) struct Gpus(OnceLock<Option<Nvml>>);

impl Gpus {
    /// Opens the driver's library; said once if that fails.
    pub(super) fn watch(&self) {
        self.0.get_or_init(|| {
            let opened = Nvml::open(LIBRARY);
            opened.inspect_err(|reason| tracing::warn!(reason, "the GPU's metrics are left out")).ok()
        });
    }

    /// Each GPU now; none where they aren't watched.
    pub(super) fn read(&self) -> Vec<Gpu> {
        self.0.get().and_then(Option::as_ref).map(Nvml::read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwatched_there_are_none() {
        assert_eq!(Gpus::default().read(), []);
    }
}
