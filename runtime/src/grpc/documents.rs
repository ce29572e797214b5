//! Methods that need no model: whether it is there, what it takes, and what can't be done with it.

use super::message::{Message, generated, read};
use super::method::Method;
use crate::app::App;
use crate::codec::v2::protobuf::messages::model_metadata_response::TensorMetadata;
use crate::codec::v2::protobuf::messages::{
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ServerLiveResponse,
    ServerMetadataResponse, ServerReadyResponse,
};
use crate::error::Error;
use crate::http::{EXTENSIONS, PLATFORM, check_name, wire_shape};
use crate::signature::ValueSpec;

/// Answers the one message of a call.
pub(super) fn answer(app: &App, method: Method, message: &Message<'_>) -> Result<Vec<u8>, Error> {
    Ok(match method {
        Method::ServerLive => generated(&ServerLiveResponse { live: true }),
        Method::ServerReady => generated(&ServerReadyResponse { ready: app.ready().is_ok() }),
        Method::ModelReady => {
            let ModelReadyRequest { name, version } = read(message)?;
            check(app, &name, &version)?;
            generated(&ModelReadyResponse { ready: app.ready().is_ok() })
        }
        Method::ServerMetadata => generated(&ServerMetadataResponse {
            name: "nimify".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: EXTENSIONS.map(String::from).into(),
        }),
        Method::ModelMetadata => {
            let ModelMetadataRequest { name, version } = read(message)?;
            check(app, &name, &version)?;
            generated(&model_metadata(app))
        }
        Method::RepositoryModelLoad | Method::RepositoryModelUnload => {
            let text = "the model is part of the service: it can be neither loaded nor unloaded";
            return Err(Error::Unsupported(text.into()));
        }
        other => return Err(Error::Internal(format!("`{}` is answered elsewhere", other.label()))),
    })
}

/// The names as protobuf has them, where what isn't said is empty.
fn check(app: &App, name: &str, version: &str) -> Result<(), Error> {
    check_name(app, Some(name), Some(version).filter(|version| !version.is_empty()))
}

fn model_metadata(app: &App) -> ModelMetadataResponse {
    let tensor = |spec: &ValueSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.wire_type().datatype().unwrap_or_default().into(),
        shape: wire_shape(spec),
    };
    ModelMetadataResponse {
        name: app.settings.name.clone(),
        versions: vec![app.settings.version.clone()],
        platform: PLATFORM.into(),
        inputs: app.signature.inputs.iter().map(tensor).collect(),
        outputs: app.signature.outputs.iter().map(tensor).collect(),
    }
}
