//! `nimify load DIR`.

use crate::image::load::Engine;
use crate::{image, pipeline};

use super::args::{Format, LoadArgs};
use super::exit::Exit;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &LoadArgs) -> Outcome {
    let layout = pipeline::layout_in(&args.dir);
    let engine = Engine::find(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::say(Exit::Internal, format!("could not start: {error}")))?;
    let loaded = runtime.block_on(image::load(&layout, &[], &engine))?;
    match args.format {
        Format::Json => super::print_json(&loaded),
        Format::Text => {
            let text: String = loaded.tags.iter().map(|tag| format!("loaded {tag}\n")).collect();
            super::print(&text)
        }
    }
}
