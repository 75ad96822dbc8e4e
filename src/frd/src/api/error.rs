//! What is answered when it is no success: always JSON, always one sentence for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fm_api::http::{ErrorBody, ErrorDetail, ErrorKind, FieldProblem};
use fm_api::problem::Problem;
use fm_store::StoreError;

/// An answer that is no success.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    detail: Box<ErrorDetail>,
}

/// What a handler gives.
pub(super) type Answer<T> = Result<Json<T>, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status,
            detail: Box::new(ErrorDetail {
                message: message.into(),
                kind,
                problems: Vec::new(),
            }),
        }
    }
    /// The request itself cannot be read.
    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Invalid, message)
    }
    pub(super) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Invalid, message)
    }
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Invalid, message)
    }
    /// The object in the request is wrong.
    pub(super) fn invalid(what: &str, problems: Vec<Problem>) -> Self {
        let message = match problems.as_slice() {
            [one] => format!("{what} is not valid: {one}"),
            [first, rest @ ..] => format!("{what} is not valid: {first} (and {} more)", rest.len()),
            [] => format!("{what} is not valid"),
        };
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Invalid,
            message,
        );
        error.detail.problems = fields(problems);
        error
    }
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }
    pub(super) fn no_method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::NotFound, message)
    }
    /// It contradicts what is stored.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorKind::Conflict, message)
    }
    /// It asks for what is not, or no longer, to be had.
    pub(super) fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, ErrorKind::Invalid, message)
    }
    /// The caller has too many open.
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable,
            message,
        )
    }
    /// The same, naming the fields.
    pub(super) fn conflicting(message: impl Into<String>, problems: Vec<Problem>) -> Self {
        let mut error = Self::conflict(message);
        error.detail.problems = fields(problems);
        error
    }
    /// It is understood and not allowed now.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorKind::Refused, message)
    }
    /// There is room for ways back alone.
    pub(super) fn no_room(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Refused,
            message,
        )
    }
    /// Something that is asked for it does not answer.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Unavailable,
            message,
        )
    }
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Internal,
            message,
        )
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail.message)
    }
}

impl std::error::Error for ApiError {}

fn fields(problems: Vec<Problem>) -> Vec<FieldProblem> {
    problems
        .into_iter()
        .map(|problem| FieldProblem {
            path: problem.path,
            message: problem.message,
            allowed: problem.allowed,
        })
        .collect()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Conflict { .. } => {
                Self::conflict(format!("{message}; read it again and try again"))
            }
            StoreError::TooLarge { .. } => Self::too_large(message),
            StoreError::Compacted { .. }
            | StoreError::LeaseEnded
            | StoreError::Locked(_)
            | StoreError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Unavailable,
                message,
            ),
            StoreError::Refused(_) => Self::internal(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), "{}", self.detail.message);
        }
        (
            self.status,
            Json(ErrorBody {
                error: *self.detail,
            }),
        )
            .into_response()
    }
}
