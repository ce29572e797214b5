//! Methods that need no model: whether it is there, what it takes, what it has done, and what can't be done with it.

use super::message::{Message, generated, read};
use super::method::Method;
use crate::app::App;
use crate::codec::v2::protobuf::messages::model_metadata_response::TensorMetadata;
use crate::codec::v2::protobuf::messages::repository_index_response::ModelIndex;
use crate::codec::v2::protobuf::messages::{
    ModelConfigRequest, ModelConfigResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, ServerLiveResponse, ServerMetadataResponse, ServerReadyResponse,
};
use crate::error::Error;
use crate::http::extensions;
use crate::model_config::{PLATFORM, wire_shape};
use crate::repository::{self, IndexEntry, IndexRequest};
use crate::signature::ValueSpec;

/// Answers the one message of a call.
pub(super) fn answer(app: &App, method: Method, message: &Message<'_>) -> Result<Vec<u8>, Error> {
    Ok(match method {
        Method::ServerLive => generated(&ServerLiveResponse { live: true }),
        Method::ServerReady => generated(&ServerReadyResponse { ready: app.ready().is_ok() }),
        Method::ModelReady => {
            let ModelReadyRequest { name, version } = read(message)?;
            // A model that isn't there isn't ready: as Triton has it, and its client by HTTP, where 404 is a no.
            let there = repository::check(app, Some(&name), said(&version)).is_ok();
            generated(&ModelReadyResponse { ready: there && app.ready().is_ok() })
        }
        Method::ServerMetadata => generated(&ServerMetadataResponse {
            name: "nimify".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            extensions: extensions(&app.settings).into_iter().map(String::from).collect(),
        }),
        Method::ModelMetadata => {
            let ModelMetadataRequest { name, version } = read(message)?;
            repository::check(app, Some(&name), said(&version))?;
            generated(&model_metadata(app))
        }
        Method::ModelConfig => {
            let ModelConfigRequest { name, version } = read(message)?;
            repository::check(app, Some(&name), said(&version))?;
            generated(&ModelConfigResponse { config: Some(app.model_config().into()) })
        }
        Method::ModelStatistics => {
            let ModelStatisticsRequest { name, version } = read(message)?;
            repository::check(app, said(&name), said(&version))?;
            generated(&ModelStatisticsResponse { model_stats: vec![app.statistics(said(&version)).into()] })
        }
        Method::RepositoryIndex => {
            let RepositoryIndexRequest { ready, .. } = read(message)?;
            let entry = |IndexEntry { name, version, state, reason }| ModelIndex {
                name,
                version,
                state: String::from(state),
                reason,
            };
            let models = repository::index(app, IndexRequest { ready }).into_iter().map(entry).collect();
            generated(&RepositoryIndexResponse { models })
        }
        Method::RepositoryModelLoad | Method::RepositoryModelUnload => return Err(repository::no_control()),
        other => return Err(Error::Internal(format!("`{}` is answered elsewhere", other.label()))),
    })
}

/// What isn't said is empty.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
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
