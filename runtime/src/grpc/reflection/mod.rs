//! gRPC's own reflection: which services there are, and how their messages look. Both versions of the protocol are the
//! same but for their names.

mod files;
#[allow(missing_docs, unreachable_pub, clippy::enum_variant_names, reason = "generated: `runtime/proto` has the words")]
#[rustfmt::skip]
mod messages;

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use self::files::FILES;
use self::messages::server_reflection_request::MessageRequest;
use self::messages::server_reflection_response::MessageResponse;
use self::messages::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};
use super::Call;
use super::message::{Messages, generated, read};
use crate::app::App;
use crate::error::{Code, Error};
use crate::http::Limits;

/// A definition. None depends on another.
struct File {
    name: &'static str,
    /// Services, methods, messages and enumerations, by their full names.
    symbols: &'static [&'static str],
    /// `google.protobuf.FileDescriptorProto`.
    descriptor: &'static [u8],
}

/// Answers each question in turn, until the client has no more or the service ends.
pub(super) async fn stream(
    app: Arc<App>,
    call: Call,
    body: Incoming,
    answers: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let mut messages = Messages::new(body, call.encoding, Limits::of(&app));
    let questions = async {
        while let Some(message) = messages.next(false).await? {
            let answer = answer(read(&message)?);
            if answers.send(generated(&answer).into()).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = questions => ended,
        () = app.stopping() => Err(Error::NotReady("the service is stopping".into())),
    }
}

fn answer(request: ServerReflectionRequest) -> ServerReflectionResponse {
    let response = match &request.message_request {
        Some(MessageRequest::ListServices(_)) => {
            let services = FILES.iter().filter_map(|file| file.symbols.first());
            let service = services.map(|name| ServiceResponse { name: (*name).to_owned() }).collect();
            MessageResponse::ListServicesResponse(ListServiceResponse { service })
        }
        Some(MessageRequest::FileByFilename(name)) => file(FILES.iter().find(|file| file.name == name)),
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            file(FILES.iter().find(|file| file.symbols.contains(&symbol.as_str())))
        }
        Some(MessageRequest::FileContainingExtension(_) | MessageRequest::AllExtensionNumbersOfType(_)) => {
            error(Code::NotFound, "there are no extensions")
        }
        None => error(Code::InvalidArgument, "the request asks nothing that is known"),
    };
    ServerReflectionResponse {
        valid_host: request.host.clone(),
        original_request: Some(request),
        message_response: Some(response),
    }
}

fn file(found: Option<&File>) -> MessageResponse {
    match found {
        Some(file) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![Bytes::from_static(file.descriptor)],
        }),
        None => error(Code::NotFound, "there is no such file or symbol"),
    }
}

fn error(code: Code, message: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse { error_code: code as i32, error_message: message.into() })
}
