//! The one error that a request can end in, with its HTTP status, its gRPC code and its machine-readable type side by
//! side.

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
        self.row().2
    }

    /// gRPC's code. What may be tried again elsewhere, or later, is `UNAVAILABLE`, which clients and proxies do try
    /// again; so does gRPC itself read the statuses 429 and 503.
    pub fn code(&self) -> Code {
        self.row().1
    }

    fn row(&self) -> (u16, Code, &'static str) {
        match self {
            Error::BadRequest(_) => (400, Code::InvalidArgument, "invalid_request_error"),
            Error::Forbidden(_) => (403, Code::PermissionDenied, "forbidden_error"),
            Error::NotFound(_) => (404, Code::NotFound, "not_found_error"),
            Error::MethodNotAllowed(_) => (405, Code::Unimplemented, "method_not_allowed_error"),
            Error::RequestTimeout(_) => (408, Code::DeadlineExceeded, "request_timeout_error"),
            Error::TooLarge { .. } => (413, Code::ResourceExhausted, "request_too_large_error"),
            Error::UnsupportedMediaType(_) => (415, Code::Unimplemented, "unsupported_media_type_error"),
            Error::Refused(_) => (422, Code::InvalidArgument, "model_refused_error"),
            Error::QueueFull(_) => (429, Code::Unavailable, "overloaded_error"),
            Error::Internal(_) => (500, Code::Internal, "internal_error"),
            Error::Unsupported(_) => (501, Code::Unimplemented, "unsupported_error"),
            Error::NotReady(_) => (503, Code::Unavailable, "not_ready_error"),
            Error::DeadlineExceeded(_) => (504, Code::DeadlineExceeded, "deadline_exceeded_error"),
        }
    }
}

/// How a gRPC call ends: the codes that this service gives, with gRPC's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is gRPC's code of its own name")]
pub enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// gRPC's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
        }
    }
}
