//! `nimify load DIR`.

use crate::image::load::Engine;
use crate::{image, interrupt, pipeline};

use super::args::{Format, LoadArgs};
use super::exit::Exit;
use super::failure::{self, Failure, Outcome};

pub(super) fn run(args: &LoadArgs) -> Outcome {
    let layout = pipeline::layout_in(&args.dir);
    // A folder without an image is told before an engine is looked for.
    image::open_layout(&layout)?;
    let engine = Engine::find(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::say(Exit::Internal, format!("could not start: {error}")))?;
    let loaded = runtime.block_on(async {
        tokio::select! {
            loaded = image::load(&layout, &[], &engine) => loaded.map_err(Failure::from),
            _ = interrupt::asked() => Err(failure::interrupted()),
        }
    })?;
    match args.format {
        Format::Json => super::print_json(&loaded),
        Format::Text => {
            let text: String = loaded.tags.iter().map(|tag| format!("loaded {tag}\n")).collect();
            super::print(&text)
        }
    }
}
