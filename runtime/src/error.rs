//! The one error that a request can end in, with its HTTP status and its machine-readable type side by side.

/// Why a request got no answer. The text says what is wrong, where, and what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request can't be read, or doesn't fit the signature.
    #[error("{0}")]
    BadRequest(String),
    /// The client didn't show the certificate that the service asks for.
    #[error("{0}")]
    Forbidden(String),
    /// No such route, model, version or file.
    #[error("{0}")]
    NotFound(String),
    /// The route exists, the method doesn't.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// The body took longer than the client is given to send it.
    #[error("{0}")]
    RequestTimeout(String),
    /// The body is larger than the limit.
    #[error("the request body is larger than the limit of {limit} bytes (`{setting}`)")]
    TooLarge {
        /// The limit, bytes.
        limit: u64,
        /// The setting that it follows from.
        setting: &'static str,
    },
    /// The content type or encoding is not one that the route takes.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// Well-formed, but the model refused the values.
    #[error("the model refused the request: {0}")]
    Refused(String),
    /// The queue, or the number of requests in work, is at its limit.
    #[error("{0}")]
    QueueFull(String),
    /// What was asked for is not built in.
    #[error("{0}")]
    Unsupported(String),
    /// The model is not loaded yet, or the service is stopping.
    #[error("{0}")]
    NotReady(String),
    /// No answer within `requestTimeout`.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A fault of the service itself: never of the request.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The `type` of NIM's error object.
    pub fn kind(&self) -> &'static str {
        self.row().1
    }

    /// The code of gRPC.
    pub(crate) fn grpc_code(&self) -> u16 {
        match self {
            Error::BadRequest(_) | Error::Refused(_) | Error::UnsupportedMediaType(_) => 3,
            Error::RequestTimeout(_) | Error::DeadlineExceeded(_) => 4,
            Error::NotFound(_) => 5,
            Error::Forbidden(_) => 7,
            Error::TooLarge { .. } | Error::QueueFull(_) => 8,
            Error::MethodNotAllowed(_) | Error::Unsupported(_) => 12,
            Error::Internal(_) => 13,
            Error::NotReady(_) => 14,
        }
    }

    fn row(&self) -> (u16, &'static str) {
        match self {
            Error::BadRequest(_) => (400, "invalid_request_error"),
            Error::Forbidden(_) => (403, "forbidden_error"),
            Error::NotFound(_) => (404, "not_found_error"),
            Error::MethodNotAllowed(_) => (405, "method_not_allowed_error"),
            Error::RequestTimeout(_) => (408, "request_timeout_error"),
            Error::TooLarge { .. } => (413, "request_too_large_error"),
            Error::UnsupportedMediaType(_) => (415, "unsupported_media_type_error"),
            Error::Refused(_) => (422, "model_refused_error"),
            Error::QueueFull(_) => (429, "overloaded_error"),
            Error::Internal(_) => (500, "internal_error"),
            Error::Unsupported(_) => (501, "unsupported_error"),
            Error::NotReady(_) => (503, "not_ready_error"),
            Error::DeadlineExceeded(_) => (504, "deadline_exceeded_error"),
        }
    }
}
