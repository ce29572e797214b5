//! `nimify load DIR`.

use crate::image;
use crate::image::containerd::Containerd;
use crate::image::load::{Engine, Loaded};
use crate::pipeline::{self, Sink};

use super::args::{Format, LoadArgs, LoadEngine};
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &LoadArgs) -> Outcome {
    // A folder without an image is told before an engine is looked for.
    image::open_layout(&pipeline::layout_in(&args.dir))?;
    let loaded = engine(args)?.deliver(&args.dir, &())?;
    match args.format {
        Format::Json => super::print_json(&loaded),
        Format::Text => {
            let text: String = loaded.tags.iter().map(|tag| format!("loaded {tag}\n")).collect();
            super::print(&text)
        }
    }
}

fn engine(args: &LoadArgs) -> Result<Box<dyn Sink<Delivered = Loaded>>, Failure> {
    Ok(match args.engine {
        LoadEngine::Docker => Box::new(Engine::find(|name| std::env::var(name).ok())?),
        LoadEngine::Containerd => {
            Box::new(Containerd { address: args.address.clone(), namespace: args.namespace.clone() })
        }
    })
}
